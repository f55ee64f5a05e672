"""Which correct answer of a probe a model's text means, by rules that anyone can repeat instead of a judging model."""

from typing import Literal, get_args

from armillary.errors import UsageError
from reproductions.icn.probes.probe import KnowledgeProbe, normalised

Variant = Literal["strict", "prefix"]


class Matcher:
    """Finds the answer of one probe that a text means.

    ``strict``: the whole text is a spelling of the answer, once both are normalised. ``prefix``: the text may go on
    after a whole spelling ("France - Paris", "France (Europe)"), and the longest one counts. The first misses answers
    with a remark, the second lets some wrong ones through ("Niger River" as a country); the truth is in between.

    Both know only the probe's list (a closed world). A right answer that the list lacks, or has under other spellings,
    counts as wrong; a list drawn from a dictionary also holds rare senses and general terms, so that a few odd answers
    count as right. The list is the same for every method that is compared, but a method that proposes rarer answers
    meets its gaps more often: look at the answers that count as wrong before trusting a small difference.
    """

    def __init__(self, probe: KnowledgeProbe, variant: Variant = "strict") -> None:
        if variant not in get_args(Variant):
            raise UsageError(f"a matcher's variant is one of {', '.join(get_args(Variant))}; got {variant!r}.")
        self.probe = probe
        self.variant = variant
        self._meaning = {
            normalised(spelling): index for index, answer in enumerate(probe.answers) for spelling in answer
        }
        self._most_words = max(len(form.split()) for form in self._meaning)

    def match(self, answer: str) -> int | None:
        """Index in ``probe.answers`` of the answer meant; None for a wrong or empty text."""
        form = normalised(answer)
        if self.variant == "strict":
            return self._meaning.get(form)
        words = form.split()
        for length in range(min(len(words), self._most_words), 0, -1):
            answer_index = self._meaning.get(" ".join(words[:length]))
            if answer_index is not None:
                return answer_index
        return None
