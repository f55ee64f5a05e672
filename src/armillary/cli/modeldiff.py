"""``armillary modeldiff A B``: on which inputs two models disagree; ``modeldiff lineage A B``: is one a copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.options import DRY_BEFORE, DRY_MODEL, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.errors import UsageError
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.experiments.modeldiff_lineage import LineageConfig
    from armillary.experiments.modeldiff_run import ModeldiffConfig

LINEAGE = "lineage"
FirstModel = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
SecondModel = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
TextFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True, kw_only=True)
class ModeldiffOptions(RunOptions):
    """Count the inputs on which two models disagree, by how much, and show some, without any benchmark.

    Each model draws its own inputs and both score them. `armillary modeldiff lineage A B` asks instead whether B comes
    from A. The same model twice is allowed: the difference is then 0, which checks the method.
    """

    model_a: FirstModel
    """Packaged name, folder, .gguf file or hub id of the first model."""

    model_b: SecondModel
    """The second model, in the same forms."""

    length: int = 16
    """Tokens of a sequence."""

    samples: int = 1024
    """Sequences drawn from each model."""

    weighting: Literal["count", "profile"] = "count"
    """count: every input counts once (the paper's); profile: flat over the NLL window, which needs fewer samples."""

    window: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """NLL (nats, summed) between which an input is plausible, for both models; or two pairs, A's and B's."""

    temperatures: tuple[float, ...] = (1.0,)
    """Temperatures of the draws; 1 must be among them."""

    prefix: str | None = None
    """Text in front of every sequence; by default the beginning-of-text token alone."""

    mode: Literal["tokens", "text"] = "tokens"
    """text compares models of different tokenizers on text, per byte and without counts."""

    reference: TextFile = None
    """Human texts, one a line, whose NLL chooses the windows."""

    ban_eos: bool = False
    """Leave end tokens out, in drawing and in scoring."""

    sheet: TextFile = None
    """Write samples to this CSV file for people to rate (1 good, 0 bad)."""

    ratings: TextFile = None
    """A sheet with its column rating filled: tells which model agrees better with people."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class LineageOptions(RunOptions):
    """Does model B come from model A? Judged beside known derivations of A and models known to be unrelated."""

    model_a: FirstModel
    """The supposed origin: packaged name, folder, .gguf file or hub id."""

    model_b: SecondModel
    """The supposed copy, in the same forms."""

    calibrate: bool = False
    """Make known derivations of A (weight noise, rounded weights) to compare with."""

    unrelated: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL")] = ()
    """Models of the same vocabulary that are known not to come from A."""

    length: int = 16
    """Tokens of a sequence."""

    samples: int = 512
    """Sequences drawn from A."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    # A word, not a nested command of the parser: the positional A would else be taken for it.
    if arguments and arguments[0] == LINEAGE:
        return _lineage(read(LineageOptions, arguments[1:], f"modeldiff {LINEAGE}"))
    options = read(ModeldiffOptions, arguments, "modeldiff")
    if options.sheet is not None and options.mode == "text":
        raise UsageError("--sheet needs the token mode: the text mode has no samples with weights to rate.")
    config = settings(options)
    out = options.out or default_folder("modeldiff", config.model_a, "vs", config.model_b)
    record = execute(config, out, fresh=options.fresh)
    if options.sheet is not None:
        _export(out, options.sheet)
    tell(record, out, as_json=options.json)
    return 0


def settings(options: ModeldiffOptions) -> "ModeldiffConfig":
    """What the run itself has to know."""
    from armillary.experiments.modeldiff_run import ModeldiffConfig

    return ModeldiffConfig(
        model_a=DRY_MODEL if options.dry_run else options.model_a,
        model_b=DRY_BEFORE if options.dry_run else options.model_b,
        length=min(options.length, 8) if options.dry_run else options.length,
        samples=min(options.samples, 300) if options.dry_run else options.samples,
        weighting=options.weighting,
        window=options.window,
        temperatures=options.temperatures,
        prefix=options.prefix,
        mode=options.mode,
        reference=None if options.reference is None else str(options.reference),
        ban_eos=options.ban_eos,
        ratings=None if options.ratings is None else str(options.ratings),
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def _lineage(options: LineageOptions) -> int:
    from armillary.experiments.modeldiff_lineage import LineageConfig

    config = LineageConfig(
        model_a=DRY_MODEL if options.dry_run else options.model_a,
        model_b=DRY_BEFORE if options.dry_run else options.model_b,
        calibrate=options.calibrate,
        unrelated=() if options.dry_run else options.unrelated,
        length=min(options.length, 8) if options.dry_run else options.length,
        samples=min(options.samples, 200) if options.dry_run else options.samples,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )
    out = options.out or default_folder("modeldiff-lineage", config.model_a, "vs", config.model_b)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    return 0


def _export(out: Path, sheet: Path) -> None:
    from armillary.cli.console import say
    from armillary.experiments.modeldiff_run import SAMPLES
    from armillary.methods.modeldiff.annotate import export_sheet
    from armillary.methods.modeldiff.rated_section import sheet_rows
    from armillary.methods.modeldiff.result import Comparison

    ids = export_sheet(sheet_rows(Comparison.load(out / SAMPLES)), sheet)
    say(f"Sheet: {sheet} ({len(ids)} texts); fill the column rating and run again with --ratings {sheet}")


def execute(config: "ModeldiffConfig | LineageConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one comparison, or of one question of descent, in the folder ``out``."""
    from armillary.experiments.modeldiff_lineage import LineageConfig, run_lineage
    from armillary.experiments.modeldiff_run import run_modeldiff

    if isinstance(config, LineageConfig):
        return run_in(out, lambda: run_lineage(config, out, fresh=fresh), fresh=fresh)
    return run_in(out, lambda: run_modeldiff(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""
    from armillary.experiments.modeldiff_lineage import LineageConfig
    from armillary.experiments.modeldiff_run import ModeldiffConfig

    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings_of(config).items()
    }
    # Digests of files that the run read, which it makes anew.
    kept.pop("files", None)
    kind = LineageConfig if config.get("command") == f"modeldiff {LINEAGE}" else ModeldiffConfig
    return execute(kind(**kept), out, fresh=True)
