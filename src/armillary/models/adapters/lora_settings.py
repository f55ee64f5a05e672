"""The settings of an adapter's folder that decide what its factors mean, held to PEFT's types and the factors."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.files import read_object

CONFIG = "adapter_config.json"
_HARMLESS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type", "use_rslora",
    "ensure_weight_tying", "qalora_group_size",
    # Of ways to begin, which are known by init_lora_weights.
    "corda_config", "eva_config", "loftq_config", "lora_ga_config",
}  # fmt: skip
"""Settings under which an adapter is its two factors and a scale; any other one that is set is refused by its name."""

_NOTHING = (None, False, "", "none", 0)
_BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Ways to begin that leave the base's own weights alone; PiSSA and its like take a part out of them."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """What an adapter's configuration says of its factors, checked; PEFT's defaults where it is silent."""

    folder: Path
    rank: int = 8
    alpha: float = 8.0
    ranks: Mapping[str, int]
    """Pattern of a module's path to its rank, where that is another."""

    alphas: Mapping[str, float]
    is_rank_stabilised: bool
    targets: str | Sequence[str]
    excluded: str | Sequence[str]
    layers: Sequence[int]
    """Of the layers that the targets stand in, where not all are meant."""

    layer_lists: Sequence[str]
    """Names of the lists of layers that these numbers count in; of any list by default."""

    base: str
    revision: str

    @classmethod
    def read(cls, folder: Path) -> "LoraSettings":
        """Those of a folder. Raises as ``read_adapter``."""
        if not (folder / CONFIG).is_file():
            raise StorageError(f"{folder} has no {CONFIG}, so it is not the folder of an adapter.")
        config = read_object(folder / CONFIG)
        if config.get("peft_type") != "LORA":
            raise UsageError(
                f"{folder} is an adapter of kind {config.get('peft_type')}; LORA is what can be merged exactly."
            )
        for name, value in sorted(config.items()):
            if name not in _HARMLESS and value not in _NOTHING and value not in ({}, []):
                raise UsageError(
                    f"{folder} uses {name}={value!r}, so it is more than a low-rank change; it is refused."
                )
        begun = config.get("init_lora_weights", True)
        if (begun.lower() if isinstance(begun, str) else begun) not in _BEGINNINGS:
            raise UsageError(
                f"{folder} began from {begun}, which changes the base's own weights or is not known; convert it to a "
                "LoRA first."
            )
        for name, (wanted, fits) in _WANTED.items():
            if name in config and not fits(config[name]):
                raise UsageError(f"{folder / CONFIG}: {name} must be {wanted}; got {config[name]!r}.")
        return cls(
            folder=folder,
            rank=config.get("r", cls.rank),
            alpha=float(config.get("lora_alpha", cls.alpha)),
            ranks=config.get("rank_pattern") or {},
            alphas=config.get("alpha_pattern") or {},
            is_rank_stabilised=config.get("use_rslora", False),
            targets=config.get("target_modules") or (),
            excluded=config.get("exclude_modules") or (),
            layers=_listed(config.get("layers_to_transform")),
            layer_lists=_listed(config.get("layers_pattern") or None),
            base=config.get("base_model_name_or_path") or "",
            revision=config.get("revision") or "",
        )

    def scale(self, path: str, a_RI: Tensor, b_OR: Tensor) -> float:
        """PEFT's factor on ``B A``; UsageError where it would not open these factors under these settings."""
        rank = next((rank for pattern, rank in self.ranks.items() if _matches(pattern, path)), self.rank)
        if a_RI.ndim != 2 or b_OR.ndim != 2 or (a_RI.shape[0], b_OR.shape[1]) != (rank, rank):
            raise UsageError(
                f"{self.folder}: the factors of {path} are {list(a_RI.shape)} and {list(b_OR.shape)}, but its "
                f"configuration gives them the rank {rank}."
            )
        if not self._is_target(path):
            raise UsageError(
                f"{self.folder} holds factors of {path}, which its target_modules (or exclude_modules or "
                "layers_to_transform) leave out, as PEFT would."
            )
        alpha = next((alpha for pattern, alpha in self.alphas.items() if _matches(pattern, path)), self.alpha)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilised else rank)

    def _is_target(self, path: str) -> bool:
        """PEFT's rule for the modules that it adapts."""
        if _names(self.excluded, path):
            return False
        if self.targets == "all-linear":
            return path.rpartition(".")[2] not in _HEADS
        if isinstance(self.targets, str) or path in self.targets or not self.layers:
            return _names(self.targets, path)
        numbers = (re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", path) for name in self.layer_lists or (r"[^.]*",))
        number = next((match[1] for match in numbers if match is not None), None)
        return _names(self.targets, path) and number is not None and int(number) in self.layers


_HEADS = ("lm_head", "embed_out", "output_projection")
"""How transformers' language models call the matrix that "all-linear" leaves out."""


def _names(targets: str | Sequence[str], path: str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(f".{path}".endswith(f".{name}") for name in targets)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else () if value is None else [value]


def _matches(pattern: str, path: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", path) is not None  # PEFT's own rule


def _compiles(pattern: str) -> bool:
    try:
        re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_layers(value: object) -> bool:
    return all(isinstance(number, int) and not isinstance(number, bool) for number in _listed(value))


def _is_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def _are_patterns(value: object, fits: Callable[[object], bool]) -> bool:
    given = value or {}
    return isinstance(given, dict) and all(map(_compiles, given)) and all(map(fits, given.values()))


def _are_targets(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(target, str) for target in value)
    return value is None or (isinstance(value, str) and _compiles(value))


_WANTED: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "r": ("a whole number of 1 or more", _is_rank),
    "lora_alpha": ("a number", _is_number),
    "use_rslora": ("true or false", lambda value: isinstance(value, bool)),
    "base_model_name_or_path": ("a name", _is_name),
    "revision": ("a name", _is_name),
    "rank_pattern": ("an object of patterns and ranks", lambda value: _are_patterns(value, _is_rank)),
    "alpha_pattern": ("an object of patterns and numbers", lambda value: _are_patterns(value, _is_number)),
    "target_modules": ("a list of module names, or a pattern", _are_targets),
    "exclude_modules": ("a list of module names, or a pattern", _are_targets),
    "layers_to_transform": ("a list of layers' numbers", _are_layers),
    "layers_pattern": ("a list of names, or a name", _are_targets),
}
