"""What a diagnosis is: something measured with the model, then told without it.

``measure`` is the slow half: it reads the model and returns plain data, which is kept, so that a killed check-up goes
on after the last finished diagnosis. ``describe`` and ``compare`` turn plain data into words and pictures and need no
model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from armillary.checkup.config import CheckupConfig
from armillary.data.texts.corpora import texts
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.records.sections import Finding, Section
from armillary.runs.parts import Parts

Payload = dict[str, Any]
"""JSON data of one diagnosis of one model."""

CORPORA = ("world-factbook", "python-reference")


@dataclass(frozen=True, kw_only=True)
class Context:
    """One model under examination, with the place where its finished parts are kept."""

    loaded: LoadedModel
    config: CheckupConfig
    parts: Parts
    role: str
    """"model" or "before": keeps the parts of the two models apart."""

    def corpus(self) -> list[tuple[str, str]]:
        """``(corpus, text)`` pairs, corpora in turn, the same for every model at a given seed."""
        half = max(1, self.config.texts // len(CORPORA))
        drawn = [texts(name, limit=half, seed=self.config.seed, split="test") for name in CORPORA]
        # A corpus may hold fewer texts than were asked for; the corpora stay balanced.
        return [pair for row in zip(*drawn, strict=False) for pair in zip(CORPORA, row, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What one diagnosis adds to the record."""

    section: Section
    measures: dict[str, Interval] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One thing the check-up looks at; listing it in ``checkup.run.DIAGNOSES`` plugs it in."""

    name: str
    title: str
    measure: Callable[[Context], Payload]
    describe: Callable[[Payload], Diagnosed]
    compare: Callable[[Payload, Payload], Diagnosed] | None = None
    """Told when ``--before`` is given: (payload of the earlier model, payload of this one)."""


@dataclass(frozen=True, kw_only=True)
class PairDiagnosis:
    """One thing that needs the earlier model and this one at once; listed in ``checkup.run.PAIR_DIAGNOSES``."""

    name: str
    title: str
    measure: Callable[[Context, Context], Payload]
    """Given the earlier model, then this one."""

    describe: Callable[[Payload], Diagnosed]
    """Told among what changed; its section's id ends in "-change"."""
