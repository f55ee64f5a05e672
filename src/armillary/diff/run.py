"""The diff itself: instruments of files, the phases, the other instruments, and one record of it all.

A new instrument is plugged in by being listed in ``INSTRUMENTS``; its place there is its place on the page. What it
``needs`` says when it is measured. ``effect.Instrument`` tells what it is made of, ``evidence.Evidence`` what it gets,
``flips`` is a short example.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from armillary.diff.answers.changes import ATTRIBUTE_CHANGES
from armillary.diff.config import DiffConfig
from armillary.diff.drift import DRIFT
from armillary.diff.effect import Described, Instrument, Needs
from armillary.diff.evidence import Evidence
from armillary.diff.flips import FLIPS
from armillary.diff.forgotten import QUESTIONS, TEXTS
from armillary.diff.identity import IDENTITY
from armillary.diff.page import Circumstances, first_lines, page
from armillary.diff.pair import Origin, Pair, origin_of
from armillary.diff.phases import Phases
from armillary.diff.plan import Sizes, plan
from armillary.diff.prompts import (
    evenly,
    packaged_prompts,
    packaged_texts,
    questions_of,
    read_prompts,
    read_texts,
    text_tokens,
)
from armillary.diff.where.restoring import RESTORING
from armillary.diff.where.weights import WEIGHTS
from armillary.progress import found, piece, planned, watched
from armillary.records.record import RunRecord
from armillary.report.wording import duration
from armillary.runs.parts import Parts
from armillary.runs.run import Job, Outcome, Run

INSTRUMENTS: tuple[Instrument[Any], ...] = (
    IDENTITY, FLIPS, DRIFT, ATTRIBUTE_CHANGES, TEXTS, QUESTIONS, WEIGHTS, RESTORING,
)  # fmt: skip
"""Everything that a diff looks at, in the order of the page."""

SHOWN = 3
"""Rendered prompts that the page shows."""


def compare(run: Run[DiffConfig]) -> Outcome:
    """Every instrument on the two models of the run.

    Raises:
        ArmillaryError: a model can't be opened or gives unusable numbers, or a prompt can't be asked.
    """
    # They were not opened: see ``job``.
    return told(measured(run.settings, cast(dict[str, Origin], run.models), run.parts))


def measured(config: DiffConfig, origins: Mapping[str, Origin], parts: Parts) -> "Measuring":
    """All phases and instruments; origins by role, "base" only where it is given. Raises as ``compare``."""
    evidence, left_out = begun(config, origins, parts)
    measuring = Measuring(evidence, left_out)
    phases = Phases(evidence)
    if not evidence.pair.is_adapter:
        # Both models' files are read next, which count as memory while they are: base is not there besides.
        evidence.pair.free()
    with evidence.pair, planned("Diff", measuring.pieces()):
        measuring.measure("files")
        for phase in (phases.base, phases.after):
            measuring.run_phase(phase)
        # What both models said is there: first what can be told of it, then what takes more of them.
        measuring.measure("scores", "answers", *(() if evidence.sizes.base_again else ("after answers",)))
        measuring.measure("blocks")
        if evidence.sizes.base_again:
            measuring.run_phase(phases.base_again)
            evidence.pair.free()
            measuring.measure("after answers")
    return measuring


def told(measuring: "Measuring") -> Outcome:
    """What was measured, as the page tells it."""
    evidence = measuring.evidence
    circumstances = Circumstances(
        budget=evidence.config.budget,
        left_out=measuring.left_out,
        seconds=measuring.seconds,
        peak_gib=peak_gib(),
        rendered=evidence.rendered[:SHOWN],
        instruments=[one.name for one in INSTRUMENTS if one.name in measuring.results],
    )
    names = [origin.name for origin in evidence.pair.origins.values()]
    return page(f"What changed from {names[0]} to {names[1]}", measuring.described(), circumstances)


def begun(config: DiffConfig, origins: Mapping[str, Origin], parts: Parts) -> tuple[Evidence, dict[str, str]]:
    """What is known before any phase: models, sizes, the prompts and texts that fit into the budget; and what does
    not, with the reason."""
    prompts = packaged_prompts() if config.prompts is None else read_prompts(config.prompts)
    texts = read_texts(config.named_texts()) if config.texts else packaged_texts()
    questions = questions_of(prompts)
    pair = Pair(origins.get("base"), origins["after"], config)

    def sizes() -> Sizes:
        base = pair.open("base")
        return plan(
            config,
            parameters=sum(parameter.numel() for parameter in base.model.parameters()),
            layers=base.anatomy.num_layers,
            prompts=len(prompts),
            texts=len(texts),
            text_tokens=text_tokens(texts),
            questions=len(questions),
            on_gpu=base.device.type != "cpu",
        )

    chosen = parts.decoded(Sizes, "sizes", sizes)
    evidence = Evidence(
        config=config,
        sizes=chosen,
        pair=pair,
        parts=parts,
        prompts=evenly(prompts, chosen.prompts),
        texts=evenly(texts, chosen.texts),
        questions=evenly(questions, chosen.questions),
    )
    reason = f"More do not fit into the budget of {config.budget}, or into what was asked for."
    counts: dict[str, tuple[Sequence[object], Sequence[object]]] = {
        "prompts": (prompts, evidence.prompts),
        "texts": (texts, evidence.texts),
        "questions": (questions, evidence.questions),
    }
    left_out = {
        f"{len(given) - len(taken)} of {len(given)} {name}": reason
        for name, (given, taken) in counts.items()
        if len(taken) < len(given)
    }
    if not chosen.base_again:
        left_out["after's answers read by base"] = "Base is opened a second time from a budget of 10m on."
    return evidence, left_out


class Measuring:
    """Measures instruments as what they need comes to be there; each result is kept, and told as soon as it is."""

    def __init__(self, evidence: Evidence, left_out: Mapping[str, str]) -> None:
        self.evidence = evidence
        self.results: dict[str, Any] = {}
        self.left_out = dict(left_out)
        self.seconds: dict[str, float] = {}
        """What each phase took, and "files", "blocks" and "instruments" those of the instruments that need them, or
        no more than what the phases left."""

        self.costs: dict[str, float] = {}
        """What each instrument took beyond the phases, in seconds."""

        self._described: dict[str, Described] = {}
        self._chosen: list[Instrument[Any]] = []
        spent, budget = evidence.sizes.phases, evidence.sizes.budget
        for instrument in sorted(INSTRUMENTS, key=lambda one: get_args(Needs).index(one.needs)):
            cost = instrument.cost(evidence.sizes)
            if cost and not instrument.always and spent + cost > budget:
                self.left_out[instrument.name] = (
                    f"It would take about {duration(cost)} more, beyond the budget of {evidence.config.budget}."
                )
                continue
            spent += cost
            self._chosen.append(instrument)

    def pieces(self) -> dict[str, float]:
        """Seconds that each phase and each instrument takes on the nominal machine."""
        sizes = self.evidence.sizes
        return sizes.pieces | {one.name: one.cost(sizes) for one in self._chosen}

    def run_phase(self, phase: Callable[[], Evidence]) -> None:
        """What the phase adds to the evidence."""
        with _Timed(self.seconds, phase.__name__.replace("_", " ")):
            self.evidence = phase()

    def measure(self, *needs: Needs) -> None:
        """Every instrument that needs this and fits into the budget."""
        for instrument in self._chosen:
            if instrument.needs not in needs:
                continue
            group = instrument.needs if instrument.needs in ("files", "blocks") else "instruments"
            with _Timed(self.seconds, group), _Timed(self.costs, instrument.name), piece(instrument.name):
                self.results[instrument.name] = self.evidence.parts.decoded(
                    instrument.result, f"result of {instrument.name}", partial(instrument.measure, self.evidence)
                )
            if watched():
                self._tell()

    def described(self) -> list[Described]:
        """What each measured instrument adds, in the order of the page."""
        measured = [instrument for instrument in INSTRUMENTS if instrument.name in self.results]
        for instrument in measured:
            if instrument.name not in self._described:
                self._described[instrument.name] = instrument.describe(self.results[instrument.name])
        return [self._described[instrument.name] for instrument in measured]

    def _tell(self) -> None:
        """Show the verdict's lines as they are so far."""
        lines = first_lines([effect for part in self.described() for effect in part.effects])
        so_far = f"{len(self.results)} of {len(self._chosen)} instruments"
        found(
            f"So far ({so_far}; the correction for all comparisons comes at the end):"
            if lines
            else f"No change so far ({so_far}).",
            lines,
        )


class _Timed:
    """Adds the seconds of the block to those of the name."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name, self._begun = seconds, name, 0.0

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + time.monotonic() - self._begun


def peak_gib() -> float:
    """Largest memory of this process so far, in GiB."""
    # Kilobytes, but on a Mac bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def run_diff(config: DiffConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a diff, also left in ``out`` with its report; a killed run goes on where it stopped.

    Models are known by their files and opened when their phase begins. Raises as ``compare``.
    """
    return Job(settings=DiffConfig, work=compare, open_model=origin_of).run(config, out, fresh=fresh)
