"""Many attributes of one text at once: drawn from it, stated as an instruction, checked of a response."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from armillary.attributes.attribute import Attribute, Verdict, soft as soft_attribute
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError

SoftExtractor = Callable[[str], Sequence[Attribute]]
"""Soft attributes of a text."""

Judge = Callable[[str, Sequence[Attribute]], Sequence[bool | None]]
"""Of a response and soft attributes, whether each is met; None where the judge gave no answer that could be read."""

Order = Literal["shuffled", "soft_first", "hard_first"]

OPENING = "Write one text that meets all of the following requirements."

KEYWORD_SHARE, NEGATIVE_SHARE = 0.6, 0.2
"""Of a set at most, by the note on the method: keywords would else be nearly all of it, and what forbids passes for
free."""

SOFT_SHARE = 8 / 45
"""Soft attributes of a set, if there are so many: eight of forty-five."""


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What a response fulfils of a set of attributes."""

    verdicts: tuple[Verdict, ...]
    """In the order of the set."""

    csr: float
    """Share of the judged attributes that are satisfied; 0 of a blank response; NaN where none could be judged."""

    hard: float | None
    """The same of the hard ones; None without any that was judged."""

    soft: float | None
    satisfied: int
    judged: int
    unparsed: int
    """Attributes of which nobody could say: soft ones without a judge or without a readable answer of it, and hard
    ones that say nothing of this text. They are in no share."""

    per_kind: Mapping[str, tuple[int, int]]
    """For each kind, how many are satisfied and how many were judged."""

    def __str__(self) -> str:
        share = f" ({self.csr:.0%})" if self.judged else ""
        unparsed = f"; {self.unparsed} not judged" if self.unparsed else ""
        return f"{self.satisfied} of {self.judged} attributes met{share}{unparsed}"


@dataclass(frozen=True, kw_only=True)
class AttributeSet:
    """The attributes that one text must have, all at once."""

    attributes: tuple[Attribute, ...]
    id: str = ""

    def __post_init__(self) -> None:
        if not self.attributes:
            raise UsageError("a set of attributes is empty; it needs at least one, or no share of them has a meaning.")

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        hard: Catalogue | None = None,
        soft: SoftExtractor | None = None,
        n: int = 45,
        seed: int = 0,
    ) -> "AttributeSet":
        """At most ``n`` attributes of the text, drawn by the seed and the text alone, so that every process draws them
        alike.

        Of n, 8 in 45 are soft where an extractor is given. Keywords are at most ``KEYWORD_SHARE`` of the set and those
        that forbid ``NEGATIVE_SHARE``; a short text gives a smaller set. UsageError where it gives none.
        """
        if n < 1 or not isinstance(n, int):
            raise UsageError(f"n is {n!r}; it is a whole number of at least 1, the attributes of a set at most.")
        catalogue = hard or Catalogue.default()
        stats = catalogue.stats(text)
        if stats.is_empty:
            raise UsageError("no attribute can be derived from this text: it is blank.")
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        draw = random.Random(f"{seed} set {digest}")
        softs = list(soft(text)) if soft is not None else []
        softs = draw.sample(softs, min(len(softs), round(n * SOFT_SHARE)))
        derived = catalogue.derive(stats, seed)
        draw.shuffle(derived)
        hards = _capped(derived, n - len(softs), len(softs), catalogue)
        if not softs and not hards:
            raise UsageError("no attribute can be derived from this text: it holds no words.")
        together = [*softs, *hards]
        draw.shuffle(together)
        return cls(attributes=tuple(together), id=digest)

    def ordered(self, order: Order = "shuffled", seed: int = 0) -> tuple[Attribute, ...]:
        """The attributes in the order of the instruction; ``shuffled`` by the seed and the set's id."""
        if order == "shuffled":
            shuffled = list(self.attributes)
            random.Random(f"{seed} order {self.id}").shuffle(shuffled)
            return tuple(shuffled)
        if order not in ("soft_first", "hard_first"):
            raise UsageError(f"order is {order!r}; accepted are shuffled, soft_first and hard_first.")
        return tuple(sorted(self.attributes, key=lambda attribute: attribute.hard == (order == "soft_first")))

    def render(self, order: Order = "shuffled", seed: int = 0) -> str:
        """The instruction: an opening line, then each attribute on a line of its own."""
        return "\n".join([OPENING, *(" ".join(each.text.split("\n")) for each in self.ordered(order, seed))])

    @classmethod
    def parse(cls, instruction: str, catalogue: Catalogue | None = None, set_id: str = "") -> "AttributeSet":
        """The set that ``render`` stated; a line that no kind states is a soft attribute."""
        known = catalogue or Catalogue.default()
        lines = [line.strip() for line in instruction.split("\n") if line.strip() and line.strip() != OPENING]
        parsed = [known.parse(line) or soft_attribute(line, source="imported") for line in lines]
        return cls(attributes=tuple(parsed), id=set_id)

    def check(self, response: str, judge: Judge | None = None, catalogue: Catalogue | None = None) -> SetReport:
        """The verdicts on a response, which is analysed once. Without a judge soft attributes are not judged.

        A blank response has a CSR of 0, though what forbids holds of it.
        """
        known = catalogue or Catalogue.default()
        stats = known.stats(response)
        softs = [attribute for attribute in self.attributes if not attribute.hard]
        answers: list[bool | None] = [None] * len(softs)
        if judge is not None and softs and not stats.is_empty:
            answers = list(judge(response, softs))
            if len(answers) != len(softs):
                raise UsageError(
                    f"the judge gave {len(answers)} answers to {len(softs)} attributes; one each is needed."
                )
        left = iter(answers)
        verdicts = tuple(
            known.check(attribute, stats) if attribute.hard else _judged(next(left), stats.is_empty, judge is not None)
            for attribute in self.attributes
        )
        return _report(self.attributes, verdicts, stats.is_empty)


def _judged(answer: bool | None, blank: bool, asked_for: bool) -> Verdict:
    if blank:
        return Verdict(False, "the text is empty")
    if answer is None:
        return Verdict(None, "not judged" if asked_for else "not judged: needs a judge")
    return Verdict(answer, "judged to meet it" if answer else "judged not to meet it")


def _report(attributes: Sequence[Attribute], verdicts: tuple[Verdict, ...], blank: bool) -> SetReport:
    per_kind: dict[str, tuple[int, int]] = {}
    totals = {True: [0, 0], False: [0, 0]}
    for attribute, verdict in zip(attributes, verdicts, strict=True):
        if verdict.satisfied is not None:
            met = verdict.satisfied and not blank
            passed, judged = per_kind.get(attribute.kind, (0, 0))
            per_kind[attribute.kind] = passed + met, judged + 1
            totals[attribute.hard][0] += met
            totals[attribute.hard][1] += 1
    satisfied, counted = totals[True][0] + totals[False][0], totals[True][1] + totals[False][1]
    return SetReport(
        verdicts=verdicts,
        csr=satisfied / counted if counted else float("nan"),
        hard=totals[True][0] / totals[True][1] if totals[True][1] else None,
        soft=totals[False][0] / totals[False][1] if totals[False][1] else None,
        satisfied=satisfied,
        judged=counted,
        unparsed=len(verdicts) - counted,
        per_kind=per_kind,
    )


def _capped(derived: Sequence[Attribute], room: int, others: int, catalogue: Catalogue) -> list[Attribute]:
    """The first of them that fit into the room, so that neither share is exceeded in the set with ``others`` more."""
    keyword = [attribute for attribute in derived if catalogue.kinds[attribute.kind].keyword]
    capped = {id(attribute) for attribute in keyword}
    negative = [
        attribute
        for attribute in derived
        if catalogue.kinds[attribute.kind].negative(attribute.params) and id(attribute) not in capped
    ]
    capped |= {id(attribute) for attribute in negative}
    free = [attribute for attribute in derived if id(attribute) not in capped][:room]
    keywords = keyword[: int(KEYWORD_SHARE * (room + others))]
    negatives = negative[: int(NEGATIVE_SHARE * (room + others))]
    while True:
        size = min(room, len(free) + len(keywords) + len(negatives)) + others
        if len(keywords) > KEYWORD_SHARE * size:
            keywords.pop()
        elif len(negatives) > NEGATIVE_SHARE * size:
            negatives.pop()
        else:
            break
    place = {id(attribute): at for at, attribute in enumerate(derived)}
    chosen = sorted([*keywords, *negatives, *free], key=lambda attribute: place[id(attribute)])
    return chosen[:room]
