"""``armillary modeldiff A B``: count the inputs on which two models disagree, and show some."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.errors import ArmillaryError, UsageError
from armillary.files import text_lines, write_atomic
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace, Sequences
from armillary.records.plain import dumps, plain
from armillary.records.record import FILE_NAME, RunRecord
from armillary.records.sections import Finding
from armillary.runs.environment import versions
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_BEFORE, DRY_MODEL, File, ModelSettings

if TYPE_CHECKING:
    from armillary.methods.modeldiff.result import Comparison

ROUNDING = 1e-3
"""Nats per token or byte up to which a difference of one model from itself is rounding of float32."""

SAMPLES, TEXTS = "samples.npz", "texts.json"
"""Files beside the record: ``Comparison.save`` of the token mode, ``TextComparison`` of the text mode."""

TOKENS_ONLY = (
    *("window", "reference", "ratings", "ban_eos", "temperatures", "proposal", "bin_width", "pilot", "block"),
    "half_precision",
)
"""Settings that mean nothing in the text mode, in the order in which they are named to a user."""


@dataclass(frozen=True, kw_only=True)
class ModeldiffSettings(Sequences, CompareConfig, ModelSettings):
    """Count the inputs on which two models disagree, by how much, and show some, without any benchmark.

    Each model draws its own inputs and both score them. `armillary modeldiff lineage A B` asks instead whether they
    share an origin. The same model twice is allowed: the difference is then 0, which checks the method.
    """

    command: ClassVar[str] = "modeldiff"

    model_a: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Packaged name, folder, .gguf file or hub id of the first model."""

    model_b: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The second model, in the same forms."""

    window: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """NLL (nats, summed) between which an input is plausible, for both models; or two pairs, A's and B's. By default
    a pilot of each model chooses it."""

    mode: Literal["tokens", "text"] = "tokens"
    """tokens counts over sequences of one vocabulary; text compares models of different tokenizers on text, per byte
    and without counts."""

    reference: File = None
    """Human texts, one a line, whose NLL chooses the windows."""

    ratings: File = None
    """A sheet with its column rating filled: tells which model agrees better with people."""

    def __post_init__(self) -> None:
        Sequences.__post_init__(self)
        CompareConfig.__post_init__(self)
        if self.window is not None and self.reference is not None:
            raise UsageError("Give either a window or a reference file that chooses it, and not both.")
        self.space()
        if self.mode == "text":
            defaults = {field.name: field.default for field in fields(self)}
            changed = [name for name in TOKENS_ONLY if getattr(self, name) != defaults[name]]
            if changed:
                raise UsageError(f"The text mode has no counts and no windows; leave {' and '.join(changed)} out.")
            if self.length < 2:
                raise UsageError(f"length must be 2 tokens or more in the text mode, got {self.length}.")

    def models(self) -> dict[str, str]:
        """Both models."""
        return {"a": self.model_a, "b": self.model_b}

    def files(self) -> dict[str, str]:
        """Human texts and ratings."""
        given = {"reference": self.reference, "ratings": self.ratings}
        return {role: path for role, path in given.items() if path is not None}

    def check(self) -> None:
        """Refuse files that can't be read before anything is drawn."""
        if self.reference is not None and not text_lines(self.reference):
            raise UsageError(f"{self.reference} holds no text; give one a line.")
        if self.ratings is not None:
            from armillary.methods.modeldiff.sheets import read_ratings

            read_ratings(self.ratings)

    def names(self) -> tuple[str, ...]:
        """A against B."""
        return self.model_a, "vs", self.model_b

    def dry(self) -> Self:
        """Two tiny random models; by tempering, whose ladders take long, on sequences that are shorter still."""
        most = 8 if self.proposal == "own" else 3
        return replace(
            self, model_a=DRY_MODEL, model_b=DRY_BEFORE, length=min(self.length, most), samples=min(self.samples, 300)
        )

    def space(self, window: dict[str, Bounds] | None = None) -> InputSpace:
        """The inputs compared, within the windows given here or in the settings, else chosen by a pilot."""
        bounds: Literal["pilot"] | Bounds | dict[str, Bounds]
        if window is not None or self.window is None:
            bounds = window or "pilot"
        elif len(self.window) == 2:
            bounds = (self.window[0], self.window[1])
        elif len(self.window) == 4:
            bounds = {"a": (self.window[0], self.window[1]), "b": (self.window[2], self.window[3])}
        else:
            raise UsageError(f"window must be two numbers of nats, or four (A's and B's); got {len(self.window)}.")
        return InputSpace(length=self.length, window=bounds, prefix=self.prefix, ban_eos=self.ban_eos)

    def compare(self) -> CompareConfig:
        """How much is drawn and how it is summed, without what only this command has."""
        return CompareConfig(**{field.name: getattr(self, field.name) for field in fields(CompareConfig)})


def compare_models(run: Run[ModeldiffSettings]) -> Outcome:
    """Both models on the inputs that each draws; its samples or texts are left beside the record.

    Ratings given after a finished run of the same settings are read into it without drawing again.

    Raises:
        ArmillaryError: the models can't be compared, no sample falls in a window, or a file holds nothing usable.
    """
    return _by_tokens(run) if run.settings.mode == "tokens" else _by_text(run)


def _same_weights(run: Run[ModeldiffSettings], largest: float, unit: str, section: str) -> list[Finding]:
    """What is said first of two models with equal tensors: whether they are one model, and what D then is."""
    a, b = run.models["a"], run.models["b"]
    if a.fingerprint != b.fingerprint:
        return []
    size = f"the largest D measured is {largest:.2g} nats per {unit}"
    differing = [name for name, digest in a.identity_parts.items() if b.identity_parts.get(name, digest) != digest]
    if differing:
        text = f"A and B are the same weights with another {' and another '.join(differing)}: {size}."
    elif largest <= ROUNDING:
        text = f"A and B are the same weights, so that D is 0 but for rounding: {size}."
    else:
        text = f"A and B are the same model, and yet {size}: their weights are rounded, or their passes differ."
    return [Finding(text=text, interest=1.0, section=section)]


def _by_tokens(run: Run[ModeldiffSettings]) -> Outcome:
    from armillary.methods.modeldiff.report import findings, measures, people_section, sections
    from armillary.methods.modeldiff.sheets import read_ratings, sheet_rows

    comparison = _kept(run) or _compared(run)
    largest = max(float(np.abs(direction.difference_N).max()) for direction in (comparison.a, comparison.b))
    outcome = Outcome(
        title=_title(run),
        sections=sections(comparison),
        findings=_same_weights(run, largest / run.settings.length, "token", "differences") + findings(comparison),
        measures=measures(comparison),
    )
    if run.settings.ratings is not None:
        handed_out = {row.id for row in sheet_rows(comparison)}
        section, finding, people = people_section(comparison, read_ratings(run.settings.ratings, handed_out))
        outcome = replace(
            outcome,
            sections=[*outcome.sections, section],
            findings=[finding, *outcome.findings],
            measures={**outcome.measures, **people},
        )
    # The old record goes first: beside new samples it would be taken for theirs.
    (run.folder.path / FILE_NAME).unlink(missing_ok=True)
    comparison.save(run.folder.path / SAMPLES)
    return outcome


def _kept(run: Run[ModeldiffSettings]) -> "Comparison | None":
    """The samples that a finished run of the same settings and models left, its ratings apart; else None."""
    from armillary.methods.modeldiff.result import Comparison

    folder = run.folder
    try:
        record = RunRecord.load(folder.path)
        comparison = Comparison.load(folder.path / SAMPLES)
    except ArmillaryError:
        return None

    def unrated(config: dict[str, Any]) -> Any:
        files = {role: digest for role, digest in config.get("files", {}).items() if role != "ratings"}
        return plain({**config, "ratings": None, "files": files})

    same_version = record.versions.get("armillary") == versions()["armillary"]
    same = unrated(record.config) == unrated(folder.config) and record.identities() == folder.models and same_version
    return comparison if same else None


def _compared(run: Run[ModeldiffSettings]) -> "Comparison":
    from armillary.methods.modeldiff.comparison import compare
    from armillary.methods.modeldiff.source import sources_of
    from armillary.methods.modeldiff.window import text_window

    settings, a, b = run.settings, run.models["a"], run.models["b"]
    space, config = settings.space(), settings.compare()
    if settings.reference is not None:
        texts = text_lines(settings.reference)
        sources, _ = sources_of([a, b], space, config)
        space = settings.space({side: text_window(source, texts) for side, source in zip("ab", sources, strict=True)})
    return compare(a, b, space, config, store=run.parts.arrays)


def _by_text(run: Run[ModeldiffSettings]) -> Outcome:
    from armillary.methods.modeldiff.report import text_findings, text_measures, text_sections
    from armillary.methods.modeldiff.text_mode import compare_texts

    settings = run.settings
    comparison = compare_texts(
        run.models["a"],
        run.models["b"],
        length=settings.length,
        samples=settings.samples,
        prefix=settings.prefix,
        batch_size=settings.batch_size,
        replicates=settings.replicates,
        level=settings.level,
        seed=settings.seed,
        store=run.parts.arrays,
    )
    (run.folder.path / FILE_NAME).unlink(missing_ok=True)
    write_atomic(run.folder.path / TEXTS, dumps(comparison, indent=1) + "\n")
    largest = max(abs(row.difference_per_byte) for row in comparison.rows)
    page = text_sections(comparison)
    return Outcome(
        title=_title(run),
        sections=page,
        findings=_same_weights(run, largest, "byte", page[0].id) + text_findings(comparison),
        measures=text_measures(comparison),
    )


def _title(run: Run[ModeldiffSettings]) -> str:
    return f"Prediction differences: {run.models['a'].name} (A) and {run.models['b'].name} (B)"


def _is_complete(out: Path, settings: ModeldiffSettings) -> bool:
    return (out / (SAMPLES if settings.mode == "tokens" else TEXTS)).exists()


JOBS = {"modeldiff": Job(settings=ModeldiffSettings, work=compare_models, is_complete=_is_complete)}


@dataclass(frozen=True, kw_only=True)
class SheetOptions(RunOptions):
    """What does not change a number."""

    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write samples to this CSV file for people to rate (1 good, 0 bad)."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(ModeldiffSettings, arguments, SheetOptions)
    if options.sheet is not None and settings.mode == "text":
        raise UsageError("--sheet needs the token mode: the text mode has no samples with weights to rate.")
    record, out = execute(JOBS["modeldiff"], settings, options)
    if options.sheet is not None:
        from armillary.cli.console import print_note
        from armillary.methods.modeldiff.result import Comparison
        from armillary.methods.modeldiff.sheets import export_sheet, sheet_rows

        ids = export_sheet(sheet_rows(Comparison.load(out / SAMPLES)), options.sheet)
        again = f"fill the column rating and run again with --ratings {options.sheet}"
        print_note(f"Sheet: {options.sheet} ({len(ids)} texts); {again}")
    print_summary(record, out, as_json=options.json)
    return 0
