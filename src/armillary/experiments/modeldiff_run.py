"""Two models compared as a run of its own: what ``armillary modeldiff A B`` leaves."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.errors import ArmillaryError, StorageError, UsageError
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace, Weighting
from armillary.runs.atomic import write_atomic
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.plain import dumps, plain
from armillary.runs.record import FILE_NAME, RunRecord
from armillary.runs.sections import Finding, Section

if TYPE_CHECKING:
    from armillary.methods.modeldiff.result import Comparison
    from armillary.models import LoadedModel
    from armillary.numerics.intervals import Interval

    Told = tuple[list[Section], list[Finding], dict[str, Interval]]

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
    from armillary.methods.modeldiff.section import findings, measures, sections

    comparison = _kept(config, folder) or _compared(a, b, config, folder)
    told = sections(comparison), findings(comparison), measures(comparison)
    if config.ratings is not None:
        from armillary.methods.modeldiff.annotate import read_ratings
        from armillary.methods.modeldiff.rated_section import rated, sheet_rows

        handed_out = {row.id for row in sheet_rows(comparison)}
        section, finding, people = rated(comparison, read_ratings(config.ratings, handed_out))
        told = [*told[0], section], [finding, *told[1]], {**told[2], **people}
    # The old record goes first: beside new samples it would be taken for theirs.
    (folder.path / FILE_NAME).unlink(missing_ok=True)
    comparison.save(folder.path / SAMPLES)
    return told


def _compared(a: "LoadedModel", b: "LoadedModel", config: ModeldiffConfig, folder: RunFolder) -> "Comparison":
    from armillary.methods.modeldiff.method import compare, text_window
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
    from armillary.methods.modeldiff.text_mode import compare_texts
    from armillary.methods.modeldiff.text_section import text_findings, text_measures, text_sections

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
