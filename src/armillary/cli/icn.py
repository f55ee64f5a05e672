"""``armillary icn keys|ask``: the space of the vocabulary's keys, and many answers to one prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.options import DRY_MODEL, ModelName, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.experiments.icn_ask import AskConfig
    from armillary.experiments.icn_keys import KeysConfig


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
    from armillary.experiments.icn_ask import AskConfig

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
    from armillary.experiments.icn_keys import KeysConfig

    return KeysConfig(
        model=DRY_MODEL if options.dry_run else options.model,
        clusters=options.clusters,
        metric=options.metric,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def execute(config: "AskConfig | KeysConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one prompt, or of the keys, in the folder ``out``."""
    from armillary.experiments.icn_ask import AskConfig, run_ask
    from armillary.experiments.icn_keys import run_keys

    if isinstance(config, AskConfig):
        return run_in(out, lambda: run_ask(config, out, fresh=fresh), fresh=fresh)
    return run_in(out, lambda: run_keys(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""
    from armillary.experiments.icn_ask import AskConfig
    from armillary.experiments.icn_keys import KeysConfig

    kind = AskConfig if config.get("command") == "icn ask" else KeysConfig
    return execute(kind(**settings_of(config)), out, fresh=True)
