"""Many answers to one prompt as a run of its own: what ``armillary icn ask`` leaves."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.errors import UsageError
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.runs.sections import Finding, Section, Table

if TYPE_CHECKING:
    from armillary.methods.icn.templates import Template
    from armillary.models import LoadedModel

Task = Literal["probe", "open", "cot"]


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """What is asked and how many answers are wanted; the fields are those of ``NavigationConfig`` where they share a
    name."""

    model: str
    prompt: str
    n: int = 32
    """Answers, or paths of a chain of thought."""

    task: Task = "probe"
    template: str | None = None
    """A TOML file with a template of the user's."""

    per_round: int = 4
    """Answers found before the list is put into the context again."""

    max_new_tokens: int | None = None
    """Tokens of an answer at most; None takes 24 for answers and 256 for paths."""

    navigate: bool = True
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("n", "per_round"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")


def run_ask(config: AskConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of all answers to one prompt, also left in ``out`` with its report. Raises ``ArmillaryError``."""
    template = _template(config)
    if not config.prompt.strip():
        raise UsageError("The prompt is empty; say what to list or solve.")
    with RunFolder.open(out, {"command": "icn ask", **asdict(config)}) as folder:
        # Opened late: a wrong template should be told before torch and a model are loaded.
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        section, finding = (_solved if config.task == "cot" else _listed)(loaded, template, config)
        record = RunRecord(
            kind="icn",
            title=f"{config.prompt[:60]} ({loaded.name})",
            config=folder.config,
            models={"model": loaded.facts()},
            seed=config.seed,
            findings=[finding],
            sections=[section],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _template(config: AskConfig) -> "Template":
    from armillary.methods.icn.templates import load_template, template

    return load_template(config.template) if config.template else template(config.task)


def _settings(config: AskConfig, length: int) -> dict[str, Any]:
    per_round = min(config.per_round, config.n)
    return {
        "rounds": math.ceil(config.n / per_round),
        "per_round": per_round,
        "max_new_tokens": config.max_new_tokens or length,
        "navigate": config.navigate,
    }


def _listed(loaded: "LoadedModel", template: "Template", config: AskConfig) -> tuple[Section, Finding]:
    from armillary.methods.icn.navigator import Navigator

    found = Navigator(loaded, template, **_settings(config, 24)).explore(config.prompt).findings[: config.n]
    distinct = [finding.text for finding in found if finding.duplicate_of is None]
    told = f"{len(distinct)} different answers of {len(found)} to {config.prompt!r}."
    table = Table(
        title="Answers in the order found",
        columns=["answer", "first token", "rank", "round", "log-probability", "same as"],
        rows=[
            [
                one.text,
                one.token_text,
                one.rank,
                one.round + 1,
                one.logprob,
                None if one.duplicate_of is None else one.duplicate_of + 1,
            ]
            for one in found
        ],
        note="The rank is that of the first token in its round, among all tokens. Nothing here says whether an answer "
        "is right.",
    )
    section = Section(
        id="answers",
        title="Answers",
        summary=told,
        meaning="Each round puts the answers found so far into the prompt as a list and takes the best first tokens "
        "that have not been used; each is then completed without the list.",
        caution="A small model may repeat what it was told to avoid, and a wrong answer in the list pulls in others.",
        tables=[table],
    )
    return section, Finding(text=f"{told} First: {', '.join(distinct[:8])}.", interest=0.5, section="answers")


def _solved(loaded: "LoadedModel", template: "Template", config: AskConfig) -> tuple[Section, Finding]:
    from armillary.methods.icn.chains import PATHS, solve

    settings = {**_settings(config, PATHS.max_new_tokens), "pool": None if config.n > 100 else PATHS.pool}
    solution = solve(loaded, [config.prompt], template=template, config=PATHS, **settings)[0]
    agreeing = sum(answer == solution.vote for answer in solution.answers)
    told = (
        "No path gave an answer that could be read."
        if solution.vote is None
        else f"{solution.vote}: {agreeing} of {len(solution.paths)} paths agree{' (a tie)' if solution.tie else ''}."
    )
    rows = [[answer, path] for answer, path in zip(solution.answers, solution.paths, strict=True)]
    section = Section(
        id="paths",
        title="Ways to solve it",
        summary=told,
        meaning="Each path begins with another first token, chosen with the earlier paths in the prompt; an answer is "
        "read out of each, and the most common one wins.",
        caution="Agreement is no proof: paths of one model share its errors.",
        tables=[Table(title="Paths", columns=["answer", "path"], rows=[list(row) for row in rows])],
    )
    return section, Finding(text=told, interest=0.5, section="paths")
