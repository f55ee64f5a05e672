"""``armillary lincorr MODEL``: the linear map between two relations, one of ours or one from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.options import DRY_MODEL, ModelName, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.errors import UsageError
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.experiments.relation import RelationRunConfig


@dataclass(frozen=True, kw_only=True)
class LincorrOptions(RunOptions):
    """Fit one linear map from a model's next-token logits of one relation to those of another, and test it.

    `armillary show lincorr` tells the claim; docs/methods/lincorr.md how to read the numbers.
    """

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model."""

    relation: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name of a shipped relation, e.g. city-country; a wrong name tells the nearest."""

    relation_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A relation of your own, as TOML (docs/methods/lincorr.md shows one)."""

    n: int = 3000
    """Vocabulary items that fill the slot of the prompts; half fit the map, half test it."""

    policy: Literal["single", "full", "first", "error"] = "single"
    """What becomes of a word that is several tokens: left out, whole first word, first token, stop."""

    ridge: float | Literal["gcv"] = "gcv"
    """Strength of the ridge penalty; gcv chooses it by generalised cross-validation, 0 is plain least squares."""

    space: Literal["logits", "logp"] = "logits"
    """Fit raw logits (as the paper's code does) or log-probabilities."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


def settings(options: LincorrOptions) -> "RelationRunConfig":
    """What the run itself has to know."""
    from armillary.experiments.relation import RelationRunConfig

    if (options.relation is None) == (options.relation_file is None):
        raise UsageError("Give either --relation NAME or --relation-file FILE, and not both.")
    return RelationRunConfig(
        model=DRY_MODEL if options.dry_run else options.model,
        relation=options.relation,
        relation_file=None if options.relation_file is None else str(options.relation_file),
        n=min(options.n, 200) if options.dry_run else options.n,
        policy=options.policy,
        ridge=options.ridge,
        space=options.space,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def execute(config: "RelationRunConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one relation in the folder ``out``."""
    from armillary.experiments.relation import run_relation

    return run_in(out, lambda: run_relation(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same relation with the settings of a record."""
    from armillary.experiments.relation import RelationRunConfig

    return execute(RelationRunConfig(**settings_of(config)), out, fresh=True)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(LincorrOptions, arguments, "lincorr")
    config = settings(options)
    relation = options.relation or Path(str(options.relation_file)).stem
    out = options.out or default_folder("lincorr", config.model, relation)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    return 0
