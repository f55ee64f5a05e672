"""A probe of knowledge: an instruction with many correct answers, "Please show me some countries.", and the answers.

The form of the instruction is that of "Correlation and Navigation in the Vocabulary Key Representation Space of
Language Models" (arXiv 2410.02284); the classes are ours, and come in threes: a base class and two restrictions of it.
"""

import difflib
from functools import cache

from armillary.errors import UsageError
from reproductions.icn.probes import languages, places, words
from reproductions.icn.probes.probe import KnowledgeProbe

BUILDERS = {**places.BUILDERS, **languages.BUILDERS, **words.BUILDERS}
"""Id -> builder, a base class before its restrictions; building needs the data packages."""


@cache
def probe(id: str) -> KnowledgeProbe:
    """One shipped probe; UsageError with the nearest names when there is none of this id."""
    if id not in BUILDERS:
        near = difflib.get_close_matches(id, BUILDERS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(BUILDERS)}."
        raise UsageError(f"no probe is called {id!r}; {hint}")
    return BUILDERS[id]()
