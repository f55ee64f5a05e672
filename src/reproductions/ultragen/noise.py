"""False attributes put among true ones, and what the correction makes of them.

Hard attributes are checked on their own texts, soft ones verified on samples by a judge that errs, and impossible ones
found because no sample meets them: by the library's own ``methods.ultragen.correction`` where it is about sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from armillary.attributes.attribute import Attribute as Record, soft
from armillary.methods.ultragen.correction.unmet import SetOutcomes, never_met
from armillary.methods.ultragen.correction.verification import Verifier
from armillary.methods.ultragen.soft.judges import OracleJudge
from reproductions.ultragen.world import Attribute, Kind, Reading, Text, false_one, satisfied

FALSE_HARD = 0.15
"""Share of hard attributes that are made false (the note's)."""

FALSE_SOFT: dict[Kind, float] = {"topic": 0.05, "paragraph_topic": 0.30}
"""Of soft ones by style of extraction, which differ (0.17 together); the noise is what a cluster is found by."""

JUDGE_ERRS = 0.03
"""Share of the judge's verdicts that are wrong (ours): without any, precision would be 1 by construction."""

PLANTED = 0.15
"""Share of the global sets that get an impossible attribute."""


@dataclass(frozen=True)
class Noisy:
    """Sets with false attributes among them, and where these are."""

    sets: list[list[Attribute]]
    injected: list[list[bool]]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What the correction flagged of what was injected."""

    injected: int
    flagged: int
    right: int
    """Flagged and injected."""

    injected_soft: int
    flagged_soft: int
    right_soft: int
    soft: int
    """Soft attributes in all, and how many of them the judge was asked about:"""

    judged: int


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What the never-satisfied test flagged of the impossible attributes, and of what can be met."""

    planted: int
    flagged: int
    right: int
    tested: int
    """Distinct attributes that can be met, and how many of them were suspected:"""

    suspected: int


def noisy(sets: Sequence[Sequence[Attribute]], texts: Sequence[Text], draw: np.random.Generator) -> Noisy:
    """Each attribute is made false with its share."""
    made: list[list[Attribute]] = []
    injected: list[list[bool]] = []
    for attributes, text in zip(sets, texts, strict=True):
        wrong = [bool(draw.random() < FALSE_SOFT.get(attribute.kind, FALSE_HARD)) for attribute in attributes]
        injected.append(wrong)
        made.append([false_one(a, text, draw) if bad else a for a, bad in zip(attributes, wrong, strict=True)])
    return Noisy(made, injected)


def corrected(noise: Noisy, texts: Sequence[Text], seed: int) -> tuple[list[list[Attribute]], Detection]:
    """The sets without what the round trip and the sampled verification reject."""
    draw = np.random.default_rng([seed, 7])
    readings = [Reading.of(text) for text in texts]

    def rule(document: str, record: Record) -> bool:
        truth = satisfied(_attribute(record), readings[int(document)])
        return truth != (draw.random() < JUDGE_ERRS)

    documents = [(str(i), [_record(a) for a in own if a.soft]) for i, own in enumerate(noise.sets)]
    # One look a text, of two or three soft attributes: what the paper's budget of sampling is about.
    verified = Verifier(judge=OracleJudge(rule=rule), per_text=1, seed=seed).verify(documents)
    kept: list[list[Attribute]] = []
    flags: list[tuple[bool, bool, bool]] = []
    for own, wrong, reading, left in zip(noise.sets, noise.injected, readings, verified.attributes, strict=True):
        remaining = {_attribute(record) for record in left}
        good = [a in remaining if a.soft else satisfied(a, reading) for a in own]
        kept.append([a for a, fine in zip(own, good, strict=True) if fine])
        flags += [(a.soft, not fine, bad) for a, fine, bad in zip(own, good, wrong, strict=True)]
    soft_N, flagged_N, wrong_N = np.array(flags).T
    return kept, Detection(
        injected=int(wrong_N.sum()),
        flagged=int(flagged_N.sum()),
        right=int((flagged_N & wrong_N).sum()),
        injected_soft=int((wrong_N & soft_N).sum()),
        flagged_soft=int((flagged_N & soft_N).sum()),
        right_soft=int((flagged_N & wrong_N & soft_N).sum()),
        soft=int(soft_N.sum()),
        judged=verified.calls,
    )


Planting = tuple[list[Attribute], Attribute | None]
"""A set, and the impossible attribute that is in it."""


def impossible(sets: Sequence[Sequence[Attribute]], draw: np.random.Generator) -> list[Planting]:
    """A share of the sets gets, in place of one of the same kind or added, an attribute that no text can have."""
    choices = [Attribute("sentences", (15,)), Attribute("paragraphs", (9,)), Attribute("words", (15,))]
    made: list[Planting] = []
    for attributes in sets:
        if draw.random() >= PLANTED:
            made.append((list(attributes), None))
            continue
        # Counts of words are told apart by their word, so that each is an attribute of its own.
        word = Attribute("count", (int(draw.integers(60)), 15))
        bad = [*choices, word, word, word][int(draw.integers(6))]
        rest = [a for a in attributes if a.kind != bad.kind or (bad.kind == "count" and a.args[0] != bad.args[0])]
        place = int(draw.integers(len(rest) + 1))
        made.append(([*rest[:place], bad, *rest[place:]], bad))
    return made


def planted(sets: Sequence[Planting], verdicts: Sequence[Sequence[Sequence[bool]]]) -> Planted:
    """The library's test on the samples' verdicts, a row a sample."""
    outcomes = [
        SetOutcomes(attributes=[_record(a) for a in attributes], met=rows)
        for (attributes, _), rows in zip(sets, verdicts, strict=True)
    ]
    bad = {_record(a) for _, a in sets if a is not None}
    every = {record for outcome in outcomes for record in outcome.attributes}
    suspects = {result.attribute for result in never_met(outcomes) if result.suspect}
    return Planted(
        planted=len(bad), flagged=len(suspects), right=len(bad & suspects), tested=len(every - bad),
        suspected=len(suspects - bad),
    )  # fmt: skip


def _record(attribute: Attribute) -> Record:
    """The library's form of it; its text is unambiguous."""
    words = f"{attribute.kind} {' '.join(map(str, attribute.args))}"
    return soft(words, attribute.kind) if attribute.soft else Record(kind=attribute.kind, params={}, text=words)


def _attribute(record: Record) -> Attribute:
    kind, *args = record.text.split()
    return Attribute(cast(Kind, kind), tuple(map(int, args)))
