"""Templates of prompts with vectors in them, settings of the projector's training and of a fit; needs no torch."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

from armillary.data.vector_files import Task
from armillary.errors import UsageError

Kind = Literal["linear", "mlp"]
Norm = Literal["none", "match"]
Attend = Literal["packed", "isolated"]
End = Literal["eos", "separator"]


@dataclass(frozen=True)
class SlotTemplate:
    """The text around the vectors of one example; a target follows it, then ``separator``."""

    pieces: tuple[str, ...] = ("(", ")'s class is")
    """Text before, between and after the vectors: one more than there are vectors. Each is tokenised by itself."""

    separator: str = "\n"
    """Between two demonstrations."""

    end: End = "separator"
    """What training learns after a target: the separator (official for series and graphs) or the end token (texts)."""

    bos: bool = True
    """Begin a prompt with what the tokenizer puts before a text, else its ``<bos>``, where it has one."""

    def __post_init__(self) -> None:
        given: object = self.pieces  # a caller may give anything
        if not isinstance(given, tuple) or len(given) < 2 or not given[-1]:
            raise UsageError(f"a template has text around its vectors and ends with text; got {self.pieces!r}.")
        if not self.separator:
            raise UsageError("the separator between demonstrations must not be empty.")
        _one_of("end", self.end, get_args(End))

    @property
    def slots(self) -> int:
        """Vectors of one example."""
        return len(self.pieces) - 1


EPISODE_WORDS: tuple[str, ...] = (
    "red", "dog", "seven", "river", "green", "house", "music", "paper", "north", "milk", "stone", "glass",
    "winter", "gold", "horse", "blue", "king", "bread", "moon", "table", "fire", "ship", "tree", "four",
)  # fmt: skip
"""Words that stand for classes in episodes: they say nothing of the class (ours)."""


STEPS = 60
"""Least steps of a training whose length was not asked for (ours)."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a projector is trained. Defaults are the official task tuning's, unless tagged."""

    steps: int | None = None
    """Optimiser steps; None makes ``epochs`` passes."""

    epochs: int | None = None
    """Passes over the examples; None makes one (official), but ``STEPS`` steps at least (ours): the official data are
    large, and one pass over a few hundred rows would be two steps."""

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
    """Largest norm of the gradient; None leaves it as it is (official)."""

    tokens_per_batch: int = 4096
    """Padded tokens in one forward pass (ours): changes speed and memory, not results."""

    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("tokens_per_batch", 1), ("steps", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is None and name in ("steps", "epochs", "patience"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}; got {value!r}.")
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


def check_settings(*, template: object, training: object, pretraining: object, batch_size: object) -> None:
    """UsageError for what an estimator can't take: scikit-learn's constructors store whatever they are given."""
    kinds = {"template": SlotTemplate, "training": TrainingConfig, "pretraining": TrainingConfig}
    for (name, kind), value in zip(kinds.items(), (template, training, pretraining), strict=True):
        if value is not None and not isinstance(value, kind):
            raise UsageError(f"{name} must be a {kind.__name__} or None; got {value!r}.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
        raise UsageError(f"batch_size must be a whole number of at least 1; got {batch_size!r}.")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}; got {value!r}.")


CLASS = SlotTemplate()
VALUE = SlotTemplate(("(", ")'s value is "))
"""It ends in a space: digits follow at once."""

TEXT = SlotTemplate(("(", ")'s text is"))
CAPTION = SlotTemplate(("(", ")'s molecule caption is: "), end="eos")

PRETRAINING = TrainingConfig(weight_decay=1e-4, warmup=0.05, patience=None)
"""The official pretraining."""


def fit_training(shown: int, steps: int = STEPS) -> TrainingConfig:
    """How a fit is trained where nothing else is said, from Python and on the command line (ours): for prompts of so
    many demonstrations."""
    # Sequences as short as a few examples and as long as a prompt: after one length alone others do badly. Three times
    # the official rate, since there are few steps; clipping bounds what one batch may do.
    most = max(32, shown)
    return TrainingConfig(
        steps=steps, batch_size=most, pack=(min(4, most), most), learning_rate=3e-3, patience=None, clip=1.0
    )


SHOTS: dict[Task, int] = {"classify": 4, "regress": 16, "describe": 4}
"""Demonstrations of a fit where none are asked for: of each class, else in all. More cost positions and time."""

TEMPLATES: dict[Task, SlotTemplate] = {"classify": CLASS, "regress": VALUE, "describe": TEXT}

LEVELS = 100
"""Steps in which values are written that are no whole numbers of 0 or more: two digits, so short answers, at the price
of an error of up to half a hundredth of the range."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a projector is fitted to rows of vectors with a target each, and how the fit is measured."""

    task: Literal["auto", "classify", "regress", "describe"] = "auto"
    """auto: at most 20 different targets that repeat are classes, numbers alone are values, all else is text."""

    shots: int | None = None
    """Demonstrations in front of each query: of each class (4 by default); of values in all (16), of texts in all
    (4)."""

    projector: Kind = "linear"
    """linear (the paper's usual one) or gated."""

    norm: Norm = "match"
    """match (ours): vectors get the mean and spread of token embeddings, and are learned sooner. none: the paper's."""

    start: Literal["random", "ridge"] = "random"
    """ridge (ours) begins with a closed form from the targets' texts; it needs --norm match."""

    label_mode: Literal["fixed", "episodic"] = "fixed"
    """episodic draws new words for the classes in every sequence, so that only demonstrations say what they mean."""

    levels: int | None = None
    """Steps in which values are written; by default whole numbers of 0 or more stay as they are, others take 100."""

    steps: int = STEPS
    """Steps of the projector's training."""

    before: str = "("
    """Text in front of a vector."""

    after: str | None = None
    """Text between a vector and its target; by default ")'s class is", of values ")'s value is " (ending in a space,
    since digits follow at once), of texts ")'s text is"."""

    held_out: float = 0.2
    """Share of the rows that is kept from training to measure on; of each class alike."""

    queries: int = 200
    """Most rows held out; the rest stays for training."""

    seed: int = 0
    """Seed of every draw: the same seed gives the same record."""

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("steps", 0), ("shots", 1), ("levels", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}.")
        if not 0 < self.held_out < 1:
            raise UsageError(f"held_out is a share between 0 and 1, got {self.held_out}.")
        if self.start == "ridge" and self.norm != "match":
            raise UsageError("the ridge start needs vectors of the tokens' spread; take norm match.")
        self.template("classify")  # which checks its texts

    def template(self, task: Task) -> SlotTemplate:
        """The text around a vector."""
        return SlotTemplate((self.before, TEMPLATES[task].pieces[1] if self.after is None else self.after))
