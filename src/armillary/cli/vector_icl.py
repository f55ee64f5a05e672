"""``armillary vector-icl fit|predict``: a language model that learns in context from vectors of your own."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.options import DRY_MODEL, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.experiments.vector_icl_fit import FitConfig

VectorsFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VECTORS")]
FitFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]


@dataclass(frozen=True, kw_only=True)
class FitOptions(RunOptions):
    """Train a projector that lets a frozen language model read your vectors, and measure it on held-out rows.

    Leaves a record and a report in --out, beside baselines and controls, and in --out/fitted what `armillary
    vector-icl predict` needs. The language model is not changed. `armillary vector-icl fit flowers.csv --targets
    species` is enough; `fit v.npy --targets labels.csv:species` takes the targets from another file.
    """

    vectors: VectorsFile
    """Vectors, one a row: a .npy table, or a .csv with a header, whose columns of numbers are the vector."""

    targets: Annotated[str, tyro.conf.arg(metavar="COLUMN_OR_FILE")]
    """The target's column of the .csv; for a .npy a text file with one target a line, or FILE.csv:COLUMN."""

    model: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "smollm2-135m-instruct"
    """Packaged name, folder, .gguf file or hub id of the language model."""

    task: Literal["auto", "classify", "regress", "describe"] = "auto"
    """auto: at most 20 different targets that repeat are classes, numbers alone are values, all else is text."""

    shots: int | None = None
    """Demonstrations in front of each query: of each class (4 by default); of values in all (16), of texts in all
    (4)."""

    projector: Literal["linear", "mlp"] = "linear"
    """linear (the paper's usual one) or gated."""

    norm: Literal["none", "match"] = "match"
    """match (ours, the default here): vectors get the mean and spread of token embeddings and are learned sooner.
    none is the paper's, and the default of the estimators in Python."""

    start: Literal["random", "ridge"] = "random"
    """ridge (ours) begins with a closed form from the targets' texts; it needs --norm match."""

    label_mode: Literal["fixed", "episodic"] = "fixed"
    """episodic draws new words for the classes in every sequence, so that only demonstrations say what they mean."""

    levels: int | None = None
    """Steps in which values are written; by default whole numbers of 0 or more stay as they are, others take 100."""

    steps: int = 60
    """Steps of the projector's training."""

    before: str = "("
    """Text in front of a vector."""

    after: str | None = None
    """Text between a vector and its target; by default ")'s class is", of values ")'s value is " (ending in a space,
    since digits follow at once), of texts ")'s text is"."""

    held_out: float = 0.2
    """Share of the rows that is kept from training to measure on; of each class alike."""

    queries: int = 200
    """Most rows held out; the rest stays for training."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Predict with what `armillary vector-icl fit` left: a CSV table with row, prediction, and of classes the
    probability of each, as in `armillary vector-icl predict armillary-runs/flowers new.csv --out told.csv`.
    """

    folder: FitFolder
    """The folder of the fit."""

    vectors: VectorsFile
    """Vectors as those of the fit: a .npy, or a .csv with the same columns (the target's is passed over)."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """File of the predictions; by default they are printed on stdout."""

    json: bool = False
    """JSON in the place of CSV."""

    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Where the language model is now, if not where it was; its weights must be those of the fit."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class VectorIclOptions:
    """Vector-ICL: a language model learns in context from the vectors of any encoder."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[FitOptions, tyro.conf.subcommand(name="fit")]
            | Annotated[PredictOptions, tyro.conf.subcommand(name="predict")]
        ]
    ]


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(VectorIclOptions, arguments, "vector-icl").action
    if isinstance(options, PredictOptions):
        return predict(options)
    config = settings(options)
    out = options.out or default_folder("vector-icl", options.vectors.stem, config.model)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    if not options.json:
        print(f"\nPredict: armillary vector-icl predict {shlex.quote(str(out))} VECTORS")
    return 0


def settings(options: FitOptions) -> "FitConfig":
    """What the run itself has to know."""
    from armillary.experiments.vector_icl_fit import FitConfig

    return FitConfig(
        vectors=str(options.vectors),
        targets=options.targets,
        model=DRY_MODEL if options.dry_run else options.model,
        task=options.task,
        shots=options.shots,
        projector=options.projector,
        norm=options.norm,
        start=options.start,
        label_mode=options.label_mode,
        levels=options.levels,
        steps=min(options.steps, 2) if options.dry_run else options.steps,
        before=options.before,
        after=options.after,
        held_out=options.held_out,
        queries=min(options.queries, 20) if options.dry_run else options.queries,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def predict(options: PredictOptions) -> int:
    """Predictions to a file or to stdout."""
    import sys

    from armillary.cli.bars import bars_shown
    from armillary.cli.console import say
    from armillary.experiments.vector_icl_predict import predictions
    from armillary.runs.atomic import write_atomic
    from armillary.runs.plain import dumps

    with bars_shown(), _warnings_said():
        trusted = options.trust_remote_code
        found = predictions(options.folder, options.vectors, options.model, trust_remote_code=trusted)
    text = dumps(found.to_dict(), indent=1) + "\n" if options.json else found.csv()
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_atomic(options.out, text)
        say(f"Predictions: {options.out}")
    return 0


def execute(config: "FitConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one fit in the folder ``out``."""
    from armillary.experiments.vector_icl_fit import run_fit

    with _warnings_said():
        return run_in(out, lambda: run_fit(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""
    from armillary.experiments.vector_icl_fit import FitConfig

    kept = settings_of(config)
    kept.pop("files", None)  # digests, which the run makes anew
    return execute(FitConfig(**kept), out, fresh=True)


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Warnings for users as a sentence on stderr, without the place in the code."""
    import warnings

    from armillary.cli.console import say

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"Note: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"armillary\.")
        warnings.showwarning = show
        yield
