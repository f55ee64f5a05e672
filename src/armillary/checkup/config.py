"""Settings of one check-up; importable without torch."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from armillary.errors import UsageError
from armillary.runs.settings import DRY_BEFORE, OneModelSettings, OtherModel, at_least

CAPABILITIES = ("code", "mathematics", "technical-english", "knowledge")
"""What the neurons are asked about: texts that need neither a download nor a package."""


@dataclass(frozen=True, kw_only=True)
class CheckupConfig(OneModelSettings):
    """Look inside a model and leave a report that says in words what each picture means and where it misleads.

    A run that was stopped goes on where it was when the same command is given again.
    """

    command: ClassVar[str] = "checkup"

    before: OtherModel = None
    """The model it came from, in the same forms: adds what changed between the two."""

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
        if self.before is not None and self.before == self.model:
            raise UsageError(
                f"--before names the same model as the one examined ({self.model}); give the earlier one."
            )

    def models(self) -> dict[str, str]:
        """The examined model, and the earlier one."""
        return super().models() | ({"before": self.before} if self.before is not None else {})

    def names(self) -> tuple[str, ...]:
        """Model, and "vs" the earlier one."""
        return (self.model, "vs", self.before) if self.before is not None else (self.model,)

    def dry(self) -> Self:
        """Tiny models and the fewest words and texts with which every diagnosis has something to show."""
        before = DRY_BEFORE if self.before is not None else None
        return replace(super().dry(), before=before, subjects=60, texts=8, text_tokens=32, clusters=4)
