"""A probe of knowledge: an instruction with many correct answers, "Please show me some countries.", and the answers.

The form of the instruction is that of "Correlation and Navigation in the Vocabulary Key Representation Space of
Language Models" (arXiv 2410.02284); the classes are ours, and come in threes: a base class and two restrictions of it.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from armillary.data.sources import Source
from armillary.data.spelling import normalised
from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One instruction and everything that is right for it; a wrong one raises UsageError in one sentence."""

    id: str
    """Lower-case words joined by dashes: "european-countries"."""

    instruction: str
    """One sentence that asks for members of the class."""

    answers: tuple[tuple[str, ...], ...]
    """Each correct answer as its spellings, the common one first; no spelling, normalised, means two answers."""

    base: str
    """Id of the class that this one restricts; its own id for a class that restricts none."""

    source: tuple[Source, ...]
    note: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id):
            raise UsageError(f"a probe's id is lower-case words and dashes, such as us-states; got {self.id!r}.")
        if not self.instruction.strip():
            raise UsageError(f"probe {self.id}: the instruction is empty.")
        _check_answers(self.id, self.answers)


def probe(id: str) -> Probe:
    """One shipped probe; UsageError with the nearest names when there is none of this id."""
    if id not in _builders():
        near = difflib.get_close_matches(id, probe_ids(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(probe_ids())}."
        raise UsageError(f"no probe is called {id!r}; {hint}")
    return _build(id)


def probe_ids() -> tuple[str, ...]:
    """The ids of the shipped probes, a base class before its restrictions; needs no data package."""
    return tuple(_builders())


@cache
def _build(id: str) -> Probe:
    return _builders()[id]()


@cache
def _builders() -> dict[str, Callable[[], Probe]]:
    from armillary.data import language_probes, place_probes, word_probes

    return {**place_probes.BUILDERS, **language_probes.BUILDERS, **word_probes.BUILDERS}


def _check_answers(id: str, answers: Sequence[object]) -> None:
    if not answers:
        raise UsageError(f"probe {id}: there are no answers.")
    owner: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if not isinstance(answer, tuple) or not answer:
            raise UsageError(f"probe {id}: an answer is a tuple of one spelling or more; got {answer!r}.")
        for spelling in answer:
            form = normalised(spelling)
            if not form:
                raise UsageError(f"probe {id}: {spelling!r} is empty without punctuation and articles.")
            if owner.setdefault(form, index) != index:
                raise UsageError(f"probe {id}: {spelling!r} is a spelling of two answers; each may have one meaning.")
