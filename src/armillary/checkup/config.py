"""Settings of one check-up; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from armillary.errors import UsageError
from armillary.runs.settings import OneModelSettings, at_least

CAPABILITIES = ("code", "mathematics", "technical-english", "knowledge")
"""What the neurons are asked about: texts that need neither a download nor a package."""


@dataclass(frozen=True, kw_only=True)
class CheckupConfig(OneModelSettings):
    """Look inside a model and leave a report that says in words what each picture means and where it misleads.

    A run that was stopped goes on where it was when the same command is given again.
    """

    command: ClassVar[str] = "checkup"

    subjects: int = 1000
    """Vocabulary items that fill the slot of the prompts; half fit the linear maps, half test them."""

    texts: int = 48
    """Texts read for the layer-by-layer pictures and the prediction score, half of them from each corpus."""

    text_tokens: int = 128
    """Tokens of each text that are read."""

    clusters: int | None = None
    """Clusters into which the vocabulary keys are split; None takes one for every hundred tokens, 512 at most."""

    def __post_init__(self) -> None:
        at_least(self, subjects=40, texts=8, text_tokens=8, clusters=2)

    def dry(self) -> Self:
        """A tiny model and the fewest words and texts with which every diagnosis has something to show."""
        return replace(super().dry(), subjects=60, texts=8, text_tokens=32, clusters=4)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Self:
        """Also of records that name an earlier model, where there was none."""
        if table.get("before") is not None:
            raise UsageError(f"{where} names an earlier model; `armillary diff BASE AFTER` compares two.")
        return super().from_table({name: value for name, value in table.items() if name != "before"}, where)
