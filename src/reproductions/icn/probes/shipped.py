"""A probe of knowledge: an instruction with many correct answers, "Please show me some countries.", and the answers.

The form of the instruction is that of "Correlation and Navigation in the Vocabulary Key Representation Space of
Language Models" (arXiv 2410.02284); the classes are ours, and come in threes: a base class and two restrictions of it.
"""

import difflib
from collections.abc import Callable
from functools import cache

from armillary.errors import UsageError
from reproductions.icn.probes.probe import KnowledgeProbe


def probe(id: str) -> KnowledgeProbe:
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
def _build(id: str) -> KnowledgeProbe:
    return _builders()[id]()


@cache
def _builders() -> dict[str, Callable[[], KnowledgeProbe]]:
    from reproductions.icn.probes import languages as language_probes, places as place_probes, words as word_probes

    return {**place_probes.BUILDERS, **language_probes.BUILDERS, **word_probes.BUILDERS}
