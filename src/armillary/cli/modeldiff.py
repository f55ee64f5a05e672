"""``armillary modeldiff A B``: on which inputs two models disagree; ``modeldiff lineage A B``: is one a copy."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.old_run import RunOptions, run_in, settings_of, tell
from armillary.cli.options import default_folder, read
from armillary.errors import ArmillaryError, StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace, Weighting
from armillary.numerics.intervals import Interval
from armillary.records.plain import dumps, plain
from armillary.records.record import FILE_NAME, RunRecord
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.settings import DRY_BEFORE, DRY_MODEL

if TYPE_CHECKING:
    from armillary.methods.modeldiff.ancestry import Lineage
    from armillary.methods.modeldiff.result import Comparison
    from armillary.models import LoadedModel
    from armillary.numerics.intervals import Interval

    Told = tuple[list[Section], list[Finding], dict[str, Interval]]

# Whether one model comes from another, as a run of its own: what ``armillary modeldiff lineage A B`` leaves.


@dataclass(frozen=True, kw_only=True)
class LineageConfig:
    """Which model is held against which, and what is known to compare with."""

    model_a: str
    """The supposed origin, which draws the inputs."""

    model_b: str
    """The supposed copy."""

    calibrate: bool = False
    """Make known derivations of A (weight noise, rounded weights) and put B among them."""

    unrelated: tuple[str, ...] = ()
    """Models of the same vocabulary that are known not to come from A."""

    length: int = 16
    samples: int = 512
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"samples must be 2 or more, got {self.samples}.")
        self.space()

    def space(self) -> InputSpace:
        """The inputs on which the models are compared."""
        return InputSpace(length=self.length)

    def compare(self) -> CompareConfig:
        """How much is drawn."""
        return CompareConfig(n_samples=self.samples, weighting="profile", seed=self.seed)


def run_lineage(config: LineageConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of one question of descent, also left in ``out`` with its report; resumes like every run.

    Raises ``ArmillaryError`` for models that can't be opened or have different vocabularies.
    """
    with RunFolder.open(out, {"command": "modeldiff lineage", **asdict(config)}) as folder:
        # Opened late: a wrong setting should be told before torch and the models are loaded.
        from armillary.methods.modeldiff import lineage
        from armillary.models import load

        roles = {"a": config.model_a, "b": config.model_b}
        roles |= {f"unrelated {number}": name for number, name in enumerate(config.unrelated, 1)}
        models = {role: load(name, trust_remote_code=config.trust_remote_code) for role, name in roles.items()}
        folder.bind({role: loaded.fingerprint for role, loaded in models.items()})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        found = lineage(
            models["a"],
            models["b"],
            config.space(),
            config.compare(),
            derivations=None if config.calibrate else {},
            unrelated={roles[role]: loaded for role, loaded in models.items() if role.startswith("unrelated")},
            store=folder.parts.arrays,
        )
        record = RunRecord(
            kind="modeldiff",
            title=f"Does {models['b'].name} come from {models['a'].name}?",
            config=folder.config,
            models={role: loaded.facts() for role, loaded in models.items()},
            seed=config.seed,
            measures=_measures(found),
            findings=[Finding(text=found.sentence(), interest=0.9, section="lineage")],
            sections=[_section(found)],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _measures(found: "Lineage") -> dict[str, Interval]:
    measures = {f"spread of D/{one.name} ({one.kind})": one.spread.deviation for one in found.relatives}
    return measures | {f"plausible to both/{one.name} ({one.kind})": one.spread.overlap for one in found.relatives}


def _section(found: "Lineage") -> Section:
    ordered = sorted(found.relatives, key=lambda one: one.spread.deviation.estimate)
    bars = {f"{one.name} ({one.kind})": one.spread.deviation for one in ordered}
    rows: list[list[Cell]] = [
        [one.name, one.kind, one.spread.mean.estimate, one.spread.deviation.estimate, one.spread.overlap.estimate]
        for one in ordered
    ]
    needed = "" if found.verdict != "undecided" else (
        "\n\nA verdict needs known derivations (--calibrate) and models known to be unrelated (--unrelated) to hold "
        "it against."
    )  # fmt: skip
    return Section(
        id="lineage",
        title="How near the model is to its supposed origin",
        summary=found.sentence() + needed,
        meaning="Over inputs that the supposed origin finds plausible, the difference of the two models' NLL spreads "
        "little for a copy, even one that was disturbed, rounded or tuned a little, and widely for a model that was "
        "trained on its own. The bars put the model in question among models whose descent is known.",
        caution="The decision holds for the derivations and the unrelated models it was calibrated on: a long "
        "fine-tune may lie outside the one, a model of the same data inside the other. Features and rule are ours, "
        "not the paper's.",
        figures=[interval_bars("Spread of the difference", bars, "nats per token (near 0 for a copy)")],
        tables=[
            Table(
                title="Features, flat over the NLL window of the origin",
                columns=["model", "kind", "mean of D, nats per token", "spread of D, nats per token",
                         "share plausible to it too"],
                rows=rows,
            )
        ],
    )  # fmt: skip


# Two models compared as a run of its own: what ``armillary modeldiff A B`` leaves.

SAMPLES, TEXTS = "samples.npz", "texts.json"
"""Files in the folder of a run: ``Comparison.save`` of the token mode, ``TextComparison.to_dict`` of the text mode."""


@dataclass(frozen=True, kw_only=True)
class ModeldiffConfig:
    """What is compared and how; fields named as in ``InputSpace`` and ``CompareConfig`` mean the same."""

    model_a: str
    model_b: str
    length: int = 16
    samples: int = 1024
    """Sequences drawn from each model."""

    weighting: Weighting = "count"
    window: tuple[float, ...] | None = None
    """Lowest and highest NLL (nats, summed), for both models; or two such pairs, A's and B's. None: by a pilot."""

    temperatures: tuple[float, ...] = (1.0,)
    prefix: str | None = None
    mode: Literal["tokens", "text"] = "tokens"
    """tokens counts over sequences of one vocabulary; text compares models of different tokenizers, per byte."""

    reference: str | None = None
    """A file of human texts, one a line, that chooses the windows."""

    ban_eos: bool = False
    ratings: str | None = None
    """A filled annotation sheet."""

    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"samples must be 2 or more, got {self.samples}.")
        if self.window is not None and self.reference is not None:
            raise UsageError("Give either a window or a reference file that chooses it, and not both.")
        if self.mode == "text":
            self._refuse_in_text()
        # Both check their fields, so that a wrong setting is told before a model is opened.
        self.space()
        self.compare()

    def _refuse_in_text(self) -> None:
        given = {"window": self.window, "reference": self.reference, "ratings": self.ratings, "ban_eos": self.ban_eos}
        named = [name for name, value in given.items() if value] + (["temperatures"] * (self.temperatures != (1.0,)))
        if named:
            raise UsageError(f"The text mode has no counts and no windows; leave {' and '.join(named)} out.")
        if self.length < 2:
            raise UsageError(f"length must be 2 tokens or more in the text mode, got {self.length}.")

    def space(self) -> InputSpace:
        """The inputs compared, as far as the settings alone tell."""
        window: Any = self.window
        if window is None:
            window = "pilot"
        elif len(window) == 4:
            window = {"a": tuple(window[:2]), "b": tuple(window[2:])}
        elif len(window) != 2:
            raise UsageError(f"window must be two numbers of nats, or four (A's and B's); got {len(window)}.")
        return InputSpace(length=self.length, window=window, prefix=self.prefix, ban_eos=self.ban_eos)

    def compare(self) -> CompareConfig:
        """How much is drawn and how it is summed."""
        return CompareConfig(
            n_samples=self.samples, temperatures=self.temperatures, weighting=self.weighting, seed=self.seed
        )


def run_modeldiff(config: ModeldiffConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a comparison, also left in ``out`` with its report and its samples; resumes like every run.

    Ratings given after a finished run of the same settings are read into it without drawing again. Raises
    ``ArmillaryError`` for files that can't be read, models that can't be opened or can't be compared, and windows in
    which no sample falls.
    """
    files = {name: _digest(path) for name in ("reference", "ratings") if (path := getattr(config, name)) is not None}
    with RunFolder.open(out, {"command": "modeldiff", **asdict(config), "files": files}) as folder:
        # Opened late: a wrong setting should be told before torch and two models are loaded.
        from armillary.models import load

        a = load(config.model_a, trust_remote_code=config.trust_remote_code)
        same = config.model_a == config.model_b
        b = a if same else load(config.model_b, trust_remote_code=config.trust_remote_code)
        folder.bind({"a": a.fingerprint, "b": b.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None and (out / (SAMPLES if config.mode == "tokens" else TEXTS)).exists():
            return finished
        sections, findings, measures = (_by_tokens if config.mode == "tokens" else _by_text)(a, b, config, folder)
        if a.fingerprint == b.fingerprint:
            told = "A and B are the same weights, so that D is 0 but for rounding."
            findings = [Finding(text=told, interest=1.0, section=sections[0].id), *findings]
        record = RunRecord(
            kind="modeldiff",
            title=f"Prediction differences: {a.name} (A) and {b.name} (B)",
            config=folder.config,
            models={"a": a.facts(), "b": b.facts()},
            seed=config.seed,
            measures=measures,
            findings=findings,
            sections=sections,
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _by_tokens(a: "LoadedModel", b: "LoadedModel", config: ModeldiffConfig, folder: RunFolder) -> "Told":
    from armillary.methods.modeldiff.report import findings, measures, sections

    comparison = _kept(config, folder) or _compared(a, b, config, folder)
    told = sections(comparison), findings(comparison), measures(comparison)
    if config.ratings is not None:
        from armillary.methods.modeldiff.ratings import read_ratings
        from armillary.methods.modeldiff.report import rated, sheet_rows

        handed_out = {row.id for row in sheet_rows(comparison)}
        section, finding, people = rated(comparison, read_ratings(config.ratings, handed_out))
        told = [*told[0], section], [finding, *told[1]], {**told[2], **people}
    # The old record goes first: beside new samples it would be taken for theirs.
    (folder.path / FILE_NAME).unlink(missing_ok=True)
    comparison.save(folder.path / SAMPLES)
    return told


def _compared(a: "LoadedModel", b: "LoadedModel", config: ModeldiffConfig, folder: RunFolder) -> "Comparison":
    from armillary.methods.modeldiff.comparison import compare, text_window
    from armillary.methods.modeldiff.source import ModelSource

    space, how = config.space(), config.compare()
    if config.reference is not None:
        texts = _texts(config.reference)
        window: dict[str, Bounds] = {
            side: text_window(ModelSource.of(loaded, space, how), texts) for side, loaded in (("a", a), ("b", b))
        }
        space = InputSpace(length=config.length, window=window, prefix=config.prefix, ban_eos=config.ban_eos)
    return compare(a, b, space, how, store=folder.parts.arrays)


def _kept(config: ModeldiffConfig, folder: RunFolder) -> "Comparison | None":
    """The samples that a finished run of the same settings and models left, its ratings apart; else None."""
    from armillary.methods.modeldiff.result import Comparison

    try:
        old = RunRecord.load(folder.path)
        held = Comparison.load(folder.path / SAMPLES)
    except (ArmillaryError, TypeError):
        return None
    fingerprints = {role: facts.get("fingerprint") for role, facts in old.models.items()}
    same_version = old.versions.get("armillary") == versions()["armillary"]
    same = _unrated(old.config) == _unrated(folder.config) and fingerprints == folder.models and same_version
    return held if same else None


def _unrated(config: dict[str, Any]) -> dict[str, Any]:
    files = {name: digest for name, digest in dict(config.get("files", {})).items() if name != "ratings"}
    return {**plain(config), "ratings": None, "files": files}


def _by_text(a: "LoadedModel", b: "LoadedModel", config: ModeldiffConfig, folder: RunFolder) -> "Told":
    from armillary.methods.modeldiff.report import text_findings, text_measures, text_sections
    from armillary.methods.modeldiff.text_mode import compare_texts

    comparison = compare_texts(
        a,
        b,
        length=config.length,
        n_samples=config.samples,
        prefix=config.prefix,
        seed=config.seed,
        store=folder.parts.arrays,
    )
    (folder.path / FILE_NAME).unlink(missing_ok=True)
    write_atomic(folder.path / TEXTS, dumps(comparison.to_dict(), indent=1) + "\n")
    return text_sections(comparison), text_findings(comparison), text_measures(comparison)


def _digest(path: str) -> str:
    """A part of the run's identity: another content of the file is another run."""
    return hashlib.sha256(_read(path)).hexdigest()[:16]


def _texts(path: str) -> list[str]:
    try:
        return [line for line in _read(path).decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} holds no UTF-8 text: {error.reason} at byte {error.start}.") from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error


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
    from armillary.methods.modeldiff.ratings import export_sheet
    from armillary.methods.modeldiff.report import sheet_rows
    from armillary.methods.modeldiff.result import Comparison

    ids = export_sheet(sheet_rows(Comparison.load(out / SAMPLES)), sheet)
    say(f"Sheet: {sheet} ({len(ids)} texts); fill the column rating and run again with --ratings {sheet}")


def execute(config: "ModeldiffConfig | LineageConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one comparison, or of one question of descent, in the folder ``out``."""

    if isinstance(config, LineageConfig):
        return run_in(out, lambda: run_lineage(config, out, fresh=fresh), fresh=fresh)
    return run_in(out, lambda: run_modeldiff(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""

    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings_of(config).items()
    }
    # Digests of files that the run read, which it makes anew.
    kept.pop("files", None)
    kind = LineageConfig if config.get("command") == f"modeldiff {LINEAGE}" else ModeldiffConfig
    return execute(kind(**kept), out, fresh=True)
