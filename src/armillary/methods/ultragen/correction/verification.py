"""Soft attributes verified on a part of their texts, where errors are likeliest (Thompson sampling).

To judge every soft attribute of every text is the dearest part of making data. Attributes fall into clusters (the
slot, the style of extraction), and each cluster has a posterior of its share of errors, at first Beta(1, 1). In each
text those attributes are verified whose cluster draws the highest share; a cluster that is surely bad is verified in
full.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from armillary.attributes.attribute import Attribute
from armillary.errors import UsageError
from armillary.methods.ultragen.soft.judges import SoftJudge
from armillary.numerics.intervals import Interval

Rewrite = Callable[[str, Attribute], Attribute | None]
"""States an attribute of a text anew; None where it can't."""

Document = tuple[str, Sequence[Attribute]]
"""A text and the attributes that were drawn from it."""


@dataclass(kw_only=True)
class ErrorRate:
    """What is known of a cluster's share of wrong attributes."""

    wrong: int = 0
    right: int = 0

    def draw(self, generator: np.random.Generator) -> float:
        """One value of the posterior Beta(1 + wrong, 1 + right)."""
        return float(generator.beta(1 + self.wrong, 1 + self.right))

    def interval(self, level: float = 0.95) -> Interval:
        """Posterior mean with its central interval."""
        from scipy.stats import beta

        posterior, n = beta(1 + self.wrong, 1 + self.right), self.wrong + self.right
        low, high = posterior.ppf([(1 - level) / 2, (1 + level) / 2])
        how = f"posterior from Beta(1, 1), {self.wrong} of {n} wrong"
        return Interval(estimate=float(posterior.mean()), low=float(low), high=float(high), n=n, level=level, how=how)

    def lower(self, level: float = 0.95) -> float:
        """What the share exceeds with this probability."""
        from scipy.stats import beta

        return float(beta.ppf(1 - level, 1 + self.wrong, 1 + self.right))


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of the soft attributes of some texts."""

    attributes: list[list[Attribute]]
    """By text, those that stay: hard ones, verified ones, rewritten ones, and those that nobody looked at."""

    rewritten: list[tuple[Attribute, Attribute]]
    dropped: list[Attribute]
    verified: int
    """Attributes of which the judge gave a verdict, the second look at rewritten ones not counted."""

    unjudged: int
    """Attributes of which the judge was asked and gave none; they stay."""

    calls: int
    """Attributes that the judge was asked about in all, rewritten ones counted again: what the work costs."""

    rates: dict[str, ErrorRate]
    """By cluster."""

    escalated: list[str]
    """Clusters that were verified in full, in the order in which that was decided."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Settings of sampled verification; the numbers are ours."""

    judge: SoftJudge
    rewrite: Rewrite | None = None
    """Without one a rejected attribute is dropped at once."""

    per_text: int = 3
    """Attributes of a text that are verified."""

    escalate: float = 0.2
    """A cluster whose share of errors exceeds this at ``level`` is verified in full."""

    level: float = 0.95
    batch: int = 16
    """Texts that are judged together; the posteriors are brought up to date after each batch."""

    seed: int = 0
    cluster: Callable[[Attribute], str] = field(default=lambda attribute: attribute.kind)
    """Which cluster an attribute belongs to; by default its slot."""

    def __post_init__(self) -> None:
        if self.per_text < 0 or self.batch < 1 or not 0 < self.escalate < 1 or not 0 < self.level < 1:
            raise UsageError("per_text must be 0 or more, batch 1 or more, escalate and level between 0 and 1.")

    def verify(self, documents: Sequence[Document]) -> Verification:
        """The texts' attributes without those that the judge rejects, also in another wording.

        What the judge raises is passed on.
        """
        work = _Work(self, documents)
        for start in range(0, len(documents), self.batch):
            work.look(work.chosen(range(start, min(start + self.batch, len(documents)))))
        # A cluster may have turned out bad after texts had passed in which nobody looked at it.
        while late := [place for place in work.unseen() if work.cluster(place) in work.escalated]:
            work.look(late)
        return work.result()


_Place = tuple[int, int]
"""Text and attribute in it."""


class _Work:
    """The state of one verification."""

    def __init__(self, verifier: Verifier, documents: Sequence[Document]) -> None:
        self.verifier, self.documents = verifier, documents
        self.generator = np.random.default_rng(verifier.seed)
        self.rates: dict[str, ErrorRate] = {}
        self.escalated: list[str] = []
        self.looked: set[_Place] = set()
        self.replaced: dict[_Place, Attribute] = {}
        self.dropped: dict[_Place, Attribute] = {}
        self.verified = self.unjudged = self.calls = 0
        for text in range(len(documents)):
            for place in self._soft(text):
                self.rates.setdefault(self.cluster(place), ErrorRate())

    def cluster(self, place: _Place) -> str:
        return self.verifier.cluster(self.documents[place[0]][1][place[1]])

    def _soft(self, text: int) -> list[_Place]:
        return [(text, index) for index, attribute in enumerate(self.documents[text][1]) if not attribute.hard]

    def unseen(self) -> list[_Place]:
        return [place for text in range(len(self.documents)) for place in self._soft(text) if place not in self.looked]

    def chosen(self, texts: range) -> list[_Place]:
        """In each text those with the highest draws, and all of clusters that are verified in full."""
        places = []
        for text in texts:
            own = self._soft(text)
            draws = {name: self.rates[name].draw(self.generator) for name in sorted({*map(self.cluster, own)})}
            # Attributes of one cluster share its draw; which of them is looked at is left to chance.
            order = sorted(own, key=lambda place: (-draws[self.cluster(place)], self.generator.random()))
            full = [place for place in own if self.cluster(place) in self.escalated]
            places += list(dict.fromkeys([*full, *order[: self.verifier.per_text]]))
        return places

    def look(self, places: Sequence[_Place]) -> None:
        """Judge these attributes, have the rejected ones rewritten and judged again, and learn from the first look."""
        rejected = []
        attributes = [self.documents[text][1][index] for text, index in places]
        for place, verdict in zip(places, self._judged(places, attributes), strict=True):
            self.looked.add(place)
            if verdict is None:
                self.unjudged += 1
                continue
            self.verified += 1
            rate = self.rates[self.cluster(place)]
            rate.wrong, rate.right = rate.wrong + (not verdict), rate.right + verdict
            if not verdict:
                rejected.append(place)
        rewrite = self.verifier.rewrite or (lambda text, attribute: None)
        anew = {
            (text, index): rewrite(self.documents[text][0], self.documents[text][1][index]) for text, index in rejected
        }
        stated = [(place, attribute) for place, attribute in anew.items() if attribute is not None]
        verdicts = self._judged([place for place, _ in stated], [attribute for _, attribute in stated])
        for (place, attribute), verdict in zip(stated, verdicts, strict=True):
            if verdict:
                self.replaced[place] = attribute
        for text, index in rejected:
            if (text, index) not in self.replaced:
                self.dropped[text, index] = self.documents[text][1][index]
        for name, rate in self.rates.items():
            if name not in self.escalated and rate.lower(self.verifier.level) > self.verifier.escalate:
                self.escalated.append(name)

    def _judged(self, places: Sequence[_Place], attributes: Sequence[Attribute]) -> list[bool | None]:
        """A verdict for each, those of one text in one question."""
        texts = sorted({text for text, _ in places})
        own = {text: [at for at, place in enumerate(places) if place[0] == text] for text in texts}
        questions = [(self.documents[text][0], [attributes[at] for at in own[text]]) for text in texts]
        self.calls += len(places)
        verdicts: list[bool | None] = [None] * len(places)
        for text, row in zip(texts, self.verifier.judge.judge(questions) if questions else [], strict=True):
            for at, verdict in zip(own[text], row, strict=True):
                verdicts[at] = verdict
        return verdicts

    def result(self) -> Verification:
        attributes = [
            [
                self.replaced.get((text, index), attribute)
                for index, attribute in enumerate(own)
                if (text, index) not in self.dropped
            ]
            for text, (_, own) in enumerate(self.documents)
        ]
        rewritten = [(self.documents[text][1][index], anew) for (text, index), anew in self.replaced.items()]
        return Verification(
            attributes=attributes, rewritten=rewritten, dropped=list(self.dropped.values()), verified=self.verified,
            unjudged=self.unjudged, calls=self.calls, rates=self.rates, escalated=self.escalated,
        )  # fmt: skip
