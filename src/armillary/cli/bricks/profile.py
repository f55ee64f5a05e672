"""``armillary bricks profile MODEL``: a survey of a model's neurons by capability."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import tyro

from armillary.cli.command import run_job
from armillary.data import capability_source, capability_texts
from armillary.errors import UsageError
from armillary.files import text_lines
from armillary.methods.bricks.neurons.config import LEAST_TEXTS
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, at_least

FEW = ("code", "technical-english")
"""Capabilities under ``--dry-run``: two are the fewest that can be compared, and these need no download."""

TEXTS = 24
"""Texts of a packaged capability when it stands beside a user's own: as many as the survey takes by itself."""


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(OneModelSettings):
    """Which neurons tell a capability, and what the model loses without them."""

    command: ClassVar[str] = "bricks profile"

    capabilities: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")] = None
    """Capabilities to compare, such as code writing (docs/methods/bricks.md lists them); by default six."""

    texts: int | None = None
    """Texts of each capability to score on, 20 or more; by default 24."""

    text_files: Annotated[tuple[str, ...], tyro.conf.arg(name="text-file", metavar="NAME=FILE ...")] = ()
    """Capabilities of your own: a name and a file with 40 texts or more, one a line; half of them are held out."""

    def __post_init__(self) -> None:
        at_least(self, texts=LEAST_TEXTS)
        names = [name for name, _ in self.named_files()]
        if twice := [name for name in names if names.count(name) > 1 or name in (self.capabilities or ())]:
            raise UsageError(f"the capability {twice[0]!r} is given twice.")

    def named_files(self) -> list[tuple[str, str]]:
        """Name and file of each capability of the user's own; UsageError for another form."""
        pairs = [given.partition("=") for given in self.text_files]
        for given, (name, _, file) in zip(self.text_files, pairs, strict=True):
            if not (name and file):
                raise UsageError(f"a file of texts is given as NAME=FILE; got {given!r}.")
        return [(name, file) for name, _, file in pairs]

    def files(self) -> dict[str, str]:
        """The user's own texts."""
        return dict(self.named_files())

    def check(self) -> None:
        """Refuse a capability that is not known, and too few texts."""
        for name in self.capabilities or ():
            capability_source(name)
        self.own_texts()

    def dry(self) -> Self:
        """The fewest texts on which a neuron can be scored, of two capabilities."""
        texts = LEAST_TEXTS if self.texts is None else min(self.texts, LEAST_TEXTS)
        return replace(super().dry(), texts=texts, capabilities=self.capabilities or FEW)

    def own_texts(self) -> dict[str, list[str]]:
        """The user's own texts, and beside them those of packaged capabilities; nothing where none are a user's.

        Packaged texts are as many to score as to hold out, in the order in which the survey halves them.
        """
        own = {name: text_lines(file) for name, file in self.named_files()}
        for name, texts in own.items():
            if len(texts) < 2 * LEAST_TEXTS:
                raise UsageError(
                    f"the file of {name!r} has {len(texts)} texts, one a line; {2 * LEAST_TEXTS} are needed at least."
                )
        if not own:
            return {}
        limit = self.texts or TEXTS
        for name in self.capabilities or ():
            scoring = capability_texts(name, split="score", limit=limit, seed=self.seed)
            held = capability_texts(name, split="test", limit=limit, seed=self.seed)
            number = min(len(scoring), len(held))
            own[name] = [*scoring[:number], *held[:number]]
        if len(own) < 2:
            raise UsageError("a survey compares at least two capabilities; name another with --capabilities.")
        return own


def survey_neurons(run: Run[ProfileSettings]) -> Outcome:
    """Scores of all neurons by capability, and what each capability's best are worth to it."""
    from armillary.methods.bricks.neurons.report import finding, measures, section
    from armillary.methods.bricks.neurons.result import Survey
    from armillary.methods.bricks.neurons.surveying import survey

    settings, own = run.settings, run.settings.own_texts()
    limit = {} if settings.texts is None else {"limit": settings.texts}
    result = run.parts.decoded(
        Survey,
        "survey of neurons",
        lambda: survey(
            run.model,
            capabilities=None if own else settings.capabilities,
            texts=own or None,
            seed=settings.seed,
            store=run.parts.arrays,
            **limit,
        ),
    )
    return Outcome(
        title=f"Neurons of {run.model.name} by capability",
        sections=[section(result)],
        findings=[finding(result)],
        measures=measures(result),
        data=[capability_source(name) for name in settings.capabilities or ()],
    )


JOBS = {"bricks profile": Job(settings=ProfileSettings, work=survey_neurons)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    return run_job(JOBS["bricks profile"], arguments)
