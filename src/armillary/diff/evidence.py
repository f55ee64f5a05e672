"""What the phases of a diff leave for its instruments: answers, scores, and the two models, one at a time.

Nothing here is computed when an instrument asks: all was measured while each model was in memory, so that an
instrument of scores or answers costs next to nothing. The roles are base (the earlier model), after (the later one)
and again: base a second time, with other random numbers and in other batches, whose differences from base are noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.diff.config import DiffConfig
from armillary.diff.kept import Crossed, Scored, Way
from armillary.diff.pair import Pair, Side
from armillary.diff.plan import Sizes
from armillary.diff.prompts import PlainText, Prompt
from armillary.models import LoadedModel
from armillary.runs.parts import Parts

Role = Literal["base", "after", "again"]

ROUNDING = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.02, "float16": 0.005}
"""Nats a token: least noise floor of what is computed from log-probabilities. The same function in another order of
its sums (neurons permuted) differs by less."""


@dataclass(frozen=True, kw_only=True)
class Replies:
    """The answers of one model to all prompts, in one way."""

    ids: Sequence[list[int]]
    """Tokens of each answer, the end token included where it came."""

    texts: Sequence[str]
    """The same as text, special tokens left out."""

    ended: Sequence[bool]
    """False where the answer was cut off at ``Sizes.answer_tokens``."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that an instrument may look at; what comes later than the instrument ``needs`` is not there yet."""

    config: DiffConfig
    sizes: Sizes
    pair: Pair
    """The models' names, folders and (``opened``) themselves."""

    parts: Parts
    """For an instrument that keeps parts of its own, under names that begin with its own."""

    prompts: Sequence[Prompt]
    """Those that were asked, in order."""

    texts: Sequence[PlainText]
    """Those that were read, in order."""

    rendered: Sequence[str] = ()
    """Each prompt as base read it, template and all."""

    same_tokens: bool = True
    """True where both models have the same tokens under the same ids. Else divergences are NaN, and only texts,
    answers and summed log-probabilities can be compared."""

    replies: Mapping[tuple[Role, Way], Replies] = field(default_factory=dict)
    """Answers of base, after and again to ``prompts``."""

    own: Mapping[tuple[Side, Way], Scored] = field(default_factory=dict)
    """What each of the two kept of its own answers: a row a prompt."""

    crossed: Mapping[tuple[Role, Side, Way], Crossed] = field(default_factory=dict)
    """By scorer, author and way, a row a prompt: (after, base) and (again, base) on base's answers; (base, after) on
    after's, which is there with a budget that opens base twice."""

    text_scores: Scored = field(default_factory=Scored.empty)
    """What base kept of ``texts``: a row a text."""

    text_crossed: Mapping[Role, Crossed] = field(default_factory=dict)
    """What the others say there: after, a row a text; again, a row for each of ``again_texts``."""

    text_bytes: Mapping[Side, Sequence[int]] = field(default_factory=dict)
    """Bytes (UTF-8) of what each of the two read of each text: all of it, but for one longer than 512 tokens."""

    again_texts: Sequence[int] = ()
    """Indices of the texts that base read a second time."""

    questions: Sequence[Prompt] = ()
    """Prompts of which something is ``expected``, in order: more than are answered, as scoring is cheaper than
    writing."""

    expected: Mapping[Side, Sequence[NDArray[np.float64]]] = field(default_factory=dict)
    """For each question the log-probability (nats) of each text of ``Prompt.expected``, in their order."""

    @property
    def rounding(self) -> float:
        """Nats a token up to which a difference may be rounding, whatever the second reading shows."""
        return ROUNDING.get(self.config.dtype, ROUNDING["float32"])

    def text_nats(self, role: Role) -> NDArray[np.float64]:
        """Surprise (nats) of each text as a whole, ``[texts]``; of again only ``[again_texts]``."""
        scored = self.text_scores if role == "base" else self.text_crossed[role]
        return -scored.sums(scored.logprob)

    @contextmanager
    def opened(self, side: Side) -> Iterator[LoadedModel]:
        """The model, in memory until another is opened; what is changed in it must be put back."""
        yield self.pair.open(side)
