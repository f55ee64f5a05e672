"""``armillary icn keys|ask``: the space of the vocabulary's keys, and many answers to one prompt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.old_run import RunOptions, run_in, settings_of, tell
from armillary.cli.options import default_folder, read
from armillary.errors import UsageError
from armillary.records.record import RunRecord
from armillary.records.sections import Finding, Section, Table
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.settings import DRY_MODEL, ModelName

if TYPE_CHECKING:
    from armillary.methods.icn.templates import ListTemplate
    from armillary.models import LoadedModel

# Many answers to one prompt as a run of its own: what ``armillary icn ask`` leaves.

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


def _template(config: AskConfig) -> "ListTemplate":
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


def _listed(loaded: "LoadedModel", template: "ListTemplate", config: AskConfig) -> tuple[Section, Finding]:
    from armillary.methods.icn.navigator import Navigator

    found = Navigator(loaded, template, **_settings(config, 24)).explore(config.prompt).answers[: config.n]
    distinct = [answer.text for answer in found if answer.duplicate_of is None]
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


def _solved(loaded: "LoadedModel", template: "ListTemplate", config: AskConfig) -> tuple[Section, Finding]:
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


# A survey of the vocabulary's keys as a run of its own: what ``armillary icn keys`` leaves.


@dataclass(frozen=True, kw_only=True)
class KeysConfig:
    """Which keys are surveyed, and how they are grouped."""

    model: str
    clusters: int | None = None
    """None takes one for every hundred tokens, 512 at most."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 2:
            raise UsageError(f"clusters must be 2 or more, got {self.clusters}.")


def run_keys(config: KeysConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a survey, also left in ``out`` with its report. Raises ``ArmillaryError``."""
    with RunFolder.open(out, {"command": "icn keys", **asdict(config)}) as folder:
        # Opened late, so that a wrong option is told before torch and a model are loaded.
        from armillary.methods.icn.key_survey import survey
        from armillary.methods.icn.report import finding, measures, section
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        payload = folder.parts.json(
            "survey", lambda: survey(loaded, clusters=config.clusters, metric=config.metric, seed=config.seed)
        )
        record = RunRecord(
            kind="icn",
            title=f"Vocabulary keys of {loaded.name}",
            config=folder.config,
            models={"model": loaded.facts()},
            seed=config.seed,
            measures=measures(payload),
            findings=[finding(payload)],
            sections=[section(payload)],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


@dataclass(frozen=True, kw_only=True)
class AskOptions(RunOptions):
    """Explore many different answers to one prompt, or many ways to solve one problem.

    Answers found so far stand in the prompt as a list, which moves the model to others (in-context navigation).
    """

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model."""

    prompt: str
    """What to list or solve, e.g. "Please show me some countries."."""

    n: int = 32
    """How many answers (or paths)."""

    task: Literal["probe", "open", "cot"] = "probe"
    """probe lists facts, open lists texts, cot solves a problem several ways and votes."""

    template: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A prompt of your own, as TOML (docs/methods/icn.md shows one)."""

    per_round: int = 4
    """Answers taken before the list is put into the prompt again."""

    max_new_tokens: int | None = None
    """Tokens of one answer at most; by default 24, and 256 for a path."""

    static: bool = False
    """Leave the list out: the model's own ranking of first tokens, to compare with."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class KeysOptions(RunOptions):
    """Draw the space of a model's vocabulary keys: which tokens lie together, and what that does to the ranking."""

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model."""

    clusters: int | None = None
    """Groups into which the keys are split; by default one for every hundred tokens."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """How near two keys are: by direction, or by distance, which their length dominates (the paper's code)."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class IcnOptions:
    """In-context navigation: what a model's vocabulary keys look like, and how to get past them."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[AskOptions, tyro.conf.subcommand(name="ask")]
            | Annotated[KeysOptions, tyro.conf.subcommand(name="keys")]
        ]
    ]


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(IcnOptions, arguments, "icn").action
    config = asked(options) if isinstance(options, AskOptions) else mapped(options)
    words = (options.prompt[:40],) if isinstance(options, AskOptions) else ()
    action = "ask" if isinstance(options, AskOptions) else "keys"
    out = options.out or default_folder(f"icn-{action}", config.model, *words)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    return 0


def asked(options: AskOptions) -> "AskConfig":
    """What exploring has to know."""

    return AskConfig(
        model=DRY_MODEL if options.dry_run else options.model,
        prompt=options.prompt,
        n=min(options.n, 8) if options.dry_run else options.n,
        task=options.task,
        template=None if options.template is None else str(options.template),
        per_round=options.per_round,
        max_new_tokens=8 if options.dry_run else options.max_new_tokens,
        navigate=not options.static,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def mapped(options: KeysOptions) -> "KeysConfig":
    """What a map of the keys has to know."""

    return KeysConfig(
        model=DRY_MODEL if options.dry_run else options.model,
        clusters=options.clusters,
        metric=options.metric,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def execute(config: "AskConfig | KeysConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one prompt, or of the keys, in the folder ``out``."""

    if isinstance(config, AskConfig):
        return run_in(out, lambda: run_ask(config, out, fresh=fresh), fresh=fresh)
    return run_in(out, lambda: run_keys(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""

    kind = AskConfig if config.get("command") == "icn ask" else KeysConfig
    return execute(kind(**settings_of(config)), out, fresh=True)
