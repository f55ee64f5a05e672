"""The method's settings as training arguments."""

from dataclasses import dataclass

from transformers import TrainingArguments

from armillary.methods.mdgd.config import MDGDSettings


@dataclass
class MDGDConfig(MDGDSettings, TrainingArguments):
    """``TrainingArguments`` with the fields of ``MDGDSettings``, as ``MDGDTrainer`` takes them.

    For another trainer's arguments write the same two lines: ``class Mine(MDGDSettings, SFTConfig)`` under
    ``@dataclass``. UsageError for a value that is not accepted.
    """

    def __post_init__(self) -> None:
        self.resolve()
        super().__post_init__()  # type: ignore[no-untyped-call]
