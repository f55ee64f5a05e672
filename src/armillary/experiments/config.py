"""Settings of one reproduction; importable without torch."""

from dataclasses import dataclass
from typing import Literal

Preset = Literal["quick", "laptop", "gpu"]


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Which paper's claims are run, on what, at which scale."""

    method: str
    """Name of the method, as its card spells it."""

    model: str
    """Packaged name, folder, .gguf file or hub id of the model."""

    preset: Preset = "laptop"
    """quick proves that the path works; laptop and gpu judge."""

    seed: int = 0
    """Seed of every draw."""
