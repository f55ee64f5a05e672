"""``armillary icn ask MODEL``: many answers to one prompt, or many ways to solve one problem."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.methods.icn.config import ExplorationConfig, NavigationConfig
from armillary.records.sections import Finding
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, OneModelSettings, at_least

if TYPE_CHECKING:
    from armillary.methods.icn.templates import ListTemplate
    from armillary.methods.icn.validity import Form


@dataclass(frozen=True, kw_only=True)
class AskSettings(ExplorationConfig, OneModelSettings):
    """Explore many different answers to one prompt, or many ways to solve one problem.

    Answers found so far stand in the prompt as a list, which moves the model to others (in-context navigation).
    """

    command: ClassVar[str] = "icn ask"

    prompt: str
    """What to list or solve, e.g. "Please show me some countries."."""

    n: int = 32
    """How many answers (or paths)."""

    task: Literal["probe", "open", "cot"] = "probe"
    """probe lists facts, open lists texts, cot solves a problem several ways and votes."""

    template: File = None
    """A prompt of your own, as TOML (docs/methods/icn.md shows one)."""

    # Fewer than in the official code: with 32 answers the list should be renewed more than three times.
    per_round: int = 4

    max_new_tokens: int | None = None
    """Tokens of one answer at most; by default 24, and 256 for a path."""

    def __post_init__(self) -> None:
        at_least(self, n=1, max_new_tokens=1)
        super().__post_init__()

    def files(self) -> dict[str, str]:
        """The user's own template."""
        return {"template": self.template} if self.template is not None else {}

    def names(self) -> tuple[str, ...]:
        """Model and the beginning of the prompt."""
        return self.model, self.prompt[:40]

    def dry(self) -> Self:
        """Few and short answers of a tiny model."""
        return replace(super().dry(), n=min(self.n, 8), max_new_tokens=8)

    def list_template(self) -> "ListTemplate":
        """The user's template, or that of the task. UsageError saying what is wrong with the file."""
        from armillary.methods.icn.templates import load_template, template

        return load_template(self.template) if self.template is not None else template(self.task)

    def check(self) -> None:
        """Refuse an empty prompt or a wrong template before a model is opened."""
        self.list_template()
        if not self.prompt.strip():
            raise UsageError("The prompt is empty; say what to list or solve.")

    def navigation(self, length: int, pool: int | None) -> NavigationConfig:
        """Rounds enough for ``n`` answers, of up to ``length`` tokens where the user gives no number."""
        shared = {field.name: getattr(self, field.name) for field in fields(ExplorationConfig)}
        per_round = min(self.per_round, self.n)
        return NavigationConfig(
            **{**shared, "per_round": per_round},
            rounds=math.ceil(self.n / per_round),
            max_new_tokens=self.max_new_tokens or length,
            pool=pool,
        )


def ask(run: Run[AskSettings]) -> Outcome:
    """The answers as a list, or the paths and their vote. UsageError where so many don't fit into the context."""
    from armillary.methods.icn.chains import PATHS, solve
    from armillary.methods.icn.navigator import Navigator
    from armillary.methods.icn.report import answers_section, paths_section
    from armillary.methods.icn.validity import reason

    settings, template = run.settings, run.settings.list_template()
    if settings.task == "cot":
        # The pool is the official code's; it can't hold more paths than it has tokens.
        config = settings.navigation(PATHS.max_new_tokens, None if settings.n > 100 else PATHS.pool)
        section = paths_section(solve(run.model, [settings.prompt], template=template, config=config)[0])
        text = section.summary
    else:
        navigator = Navigator(run.model, template, settings.navigation(24, None))
        answers = navigator.explore(settings.prompt).answers[: settings.n]
        # What an answer looks like is known of the shipped templates alone.
        form: Form = "any" if settings.template is not None else "sentence" if settings.task == "open" else "name"
        section = answers_section(settings.prompt, answers, form)
        kept = [answer.text for answer in answers if reason(settings.prompt, answer, form) is None]
        text = f"{section.summary} First: {', '.join(kept[:8])}." if kept else section.summary
    return Outcome(
        title=f"{settings.prompt[:60]} ({run.model.name})",
        findings=[Finding(text=text, interest=0.5, section=section.id)],
        sections=[section],
    )


JOBS = {"icn ask": Job(settings=AskSettings, work=ask)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["icn ask"], arguments)
