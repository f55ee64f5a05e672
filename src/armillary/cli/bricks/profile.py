"""A survey of a model's neurons by capability, as a run of its own: what ``armillary bricks profile`` leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.bricks.delivery import Outcome, file_digest, run_on_model
from armillary.cli.bricks.options import ModelOptions, Names
from armillary.data import capability_source, capability_texts
from armillary.data.texts.pieces import Split
from armillary.errors import StorageError, UsageError
from armillary.records.record import RunRecord
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.models import LoadedModel

LEAST = 20
"""Texts of a capability to score on at least: average precision of fewer says nothing."""

TEXTS = 24
"""Texts of a packaged capability when it stands beside a user's own."""


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Which capabilities the neurons are looked at by."""

    model: str
    capabilities: tuple[str, ...] | None = None
    """None takes those of the survey."""

    texts: int | None = None
    """Of each capability; None as many as the survey takes."""

    text_files: tuple[str, ...] = ()
    """"name=file" of a capability of the user's own, one text a line: half of them score, half are held out."""

    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.texts is not None and self.texts < LEAST:
            raise UsageError(f"texts must be {LEAST} or more, got {self.texts}.")
        names = [name for name, _ in self.named_files()]
        if twice := [name for name in names if names.count(name) > 1 or name in (self.capabilities or ())]:
            raise UsageError(f"the capability {twice[0]!r} is given twice.")

    def named_files(self) -> list[tuple[str, str]]:
        """Name and file of each capability of the user's own; UsageError for another form."""
        parts = [one.partition("=") for one in self.text_files]
        if wrong := [
            whole for whole, (name, _, file) in zip(self.text_files, parts, strict=True) if not (name and file)
        ]:
            raise UsageError(f"a file of texts is given as NAME=FILE; got {wrong[0]!r}.")
        return [(name, file) for name, _, file in parts]


def run_profile(config: ProfileConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a survey, also left in ``out`` with its report. Raises ``ArmillaryError``."""
    sources = [capability_source(name) for name in config.capabilities or ()]
    own = _texts(config)
    files = {name: file_digest(Path(file)) for name, file in config.named_files()}

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        from armillary.methods.bricks.neurons.report import finding, measures, section
        from armillary.methods.bricks.neurons.surveying import survey

        limit = {} if config.texts is None else {"limit": config.texts}
        payload = folder.parts.json(
            "survey",
            lambda: survey(
                loaded,
                capabilities=None if own else config.capabilities,
                texts=own or None,
                seed=config.seed,
                store=folder.parts.arrays,
                **limit,
            ),
        )
        return Outcome(
            title=f"Neurons of {loaded.name} by capability",
            sections=[section(payload)],
            findings=[finding(payload)],
            measures=measures(payload),
            data=list({source.name: source for source in sources}.values()),
        )

    return run_on_model("profile", config, out, work, fresh=fresh, files=files)


def _texts(config: ProfileConfig) -> dict[str, list[str]]:
    """The user's own texts, and beside them those of packaged capabilities; nothing where there are none of a user's.

    Packaged texts are as many to score as to hold out, in the order in which the survey halves them.
    """
    own = {name: lines_of(file) for name, file in config.named_files()}
    if few := next((name for name, texts in own.items() if len(texts) < 2 * LEAST), None):
        raise UsageError(
            f"the file of {few!r} has {len(own[few])} texts, one a line; {2 * LEAST} are needed at least."
        )
    if not own:
        return {}
    for name in config.capabilities or ():
        splits: tuple[Split, Split] = ("score", "test")
        limit = config.texts or TEXTS
        scoring, held = (capability_texts(name, split=one, limit=limit, seed=config.seed) for one in splits)
        number = min(len(scoring), len(held))
        own[name] = [*scoring[:number], *held[:number]]
    if len(own) < 2:
        raise UsageError("a survey compares at least two capabilities; name another with --capabilities.")
    return own


def lines_of(file: str) -> list[str]:
    """The texts of a file, one a line, empty lines left out. Raises StorageError or UsageError."""
    try:
        content = Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise StorageError(f"{file} could not be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} holds no UTF-8 text: {error.reason} at byte {error.start}.") from error
    return [line for line in content.splitlines() if line.strip()]


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ModelOptions):
    """Which neurons tell a capability, and what the model loses without them."""

    capabilities: Names = None
    """Capabilities to compare, such as code writing (docs/methods/bricks.md lists them); by default six."""

    texts: int | None = None
    """Texts of each capability to score on, 20 or more; by default 24."""

    text_file: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FILE ...")] = ()
    """Capabilities of your own: a name and a file with 40 texts or more, one a line."""
