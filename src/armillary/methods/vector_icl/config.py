"""Templates of prompts with vectors in them, and settings of the projector's training; importable without torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from armillary.errors import UsageError

Kind = Literal["linear", "mlp"]
Norm = Literal["none", "match"]
Attend = Literal["packed", "isolated"]
End = Literal["eos", "separator"]


@dataclass(frozen=True)
class Template:
    """The text around the vectors of one example; a target follows it, then ``separator``."""

    pieces: tuple[str, ...] = ("(", ")'s class is")
    """Text before, between and after the vectors: one more than there are vectors. Each is tokenised by itself."""

    separator: str = "\n"
    """Between two demonstrations."""

    end: End = "separator"
    """What training learns after a target: the separator (official for series and graphs) or the end token (texts)."""

    bos: bool = True
    """Begin a prompt with the tokenizer's ``<bos>``, where it has one."""

    def __post_init__(self) -> None:
        given: object = self.pieces  # a caller may give anything
        if not isinstance(given, tuple) or len(given) < 2 or not given[-1]:
            raise UsageError(f"a template has text around its vectors and ends with text; got {self.pieces!r}.")
        if not self.separator:
            raise UsageError("the separator between demonstrations must not be empty.")
        _one_of("end", self.end, get_args(End))

    @property
    def boxes(self) -> int:
        """Vectors of one example."""
        return len(self.pieces) - 1


EPISODE_WORDS: tuple[str, ...] = (
    "red", "dog", "seven", "river", "green", "house", "music", "paper", "north", "milk", "stone", "glass",
    "winter", "gold", "horse", "blue", "king", "bread", "moon", "table", "fire", "ship", "tree", "four",
)  # fmt: skip
"""Words that stand for classes in episodes: they say nothing of the class (ours)."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a projector is trained. Defaults are the official task tuning's, unless tagged."""

    steps: int | None = None
    """Optimiser steps; None makes ``epochs`` passes."""

    epochs: int = 1
    batch_size: int = 128
    """Examples of one step."""

    pack: tuple[int, int] | None = None
    """Length of a sequence in examples, drawn anew from this range for each; None puts a whole batch into one sequence
    (official), or into as few as the model has positions for. A projector that saw long sequences only does badly with
    few demonstrations (ours)."""

    attend: Attend = "packed"
    """"packed": an example sees all before it in its sequence (official). "isolated": it sees itself alone (ours)."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of the steps in which the rate rises; it falls along a cosine afterwards."""

    patience: int | None = 500
    """Stop after so many steps without a lower loss; None never stops."""

    clip: float | None = None
    """Largest norm of the gradient; None leaves it (official)."""

    tokens_per_batch: int = 4096
    """Padded tokens in one forward pass (ours): changes speed and memory, not results."""

    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "tokens_per_batch"):
            _whole(name, getattr(self, name), 1)
        for name, least in (("steps", 0), ("patience", 1)):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        pack: tuple[int, ...] | None = self.pack
        if pack is not None and not (len(pack) == 2 and 1 <= pack[0] <= pack[1]):
            raise UsageError(f"pack must be (least, most) examples of 1 or more, got {self.pack}.")
        _one_of("attend", self.attend, get_args(Attend))
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"learning_rate must be above 0, got {self.learning_rate}.")
        if not (self.weight_decay >= 0 and 0 <= self.warmup <= 1):
            raise UsageError(
                f"weight_decay must be 0 or more and warmup a share; got {self.weight_decay} and {self.warmup}."
            )
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip must be above 0 or None, got {self.clip}.")


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}; got {value!r}.")


CLASS = Template()
SENTIMENT = Template(("(", ")'s sentiment is"), end="eos")
SUMMARY = Template(("(", ")'s summarization is: "), end="eos")
CAPTION = Template(("(", ")'s molecule caption is: "), end="eos")
RECONSTRUCTION = Template(('Translate the text in brackets: ("', '"), Translation: '), end="eos")
FUNCTION = Template(("A=", "B=", ", function(A, B) equals to (digits): "))

PRETRAINING = TrainingConfig(weight_decay=1e-4, warmup=0.05, patience=None)
"""The official pretraining."""
