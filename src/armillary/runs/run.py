"""One run, from settings to record: opens folder and models, resumes, fills in the circumstances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from armillary.data.sources import DataSource
from armillary.files import digest_of
from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult
from armillary.records.record import RunRecord
from armillary.records.sections import Finding, Section
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.parts import Parts
from armillary.runs.settings import ModelSettings, RunSettings, at_least

if TYPE_CHECKING:
    from armillary.models import LoadedModel

SettingsT = TypeVar("SettingsT", bound=RunSettings)


class OpenedModel(Protocol):
    """What a run has to know of a model, however it was opened."""

    @property
    def identity(self) -> str: ...

    def facts(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the work of a run measured; everything else in a record is its circumstances."""

    title: str
    measures: Mapping[str, Interval] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    sections: Sequence[Section] = ()
    claims: Sequence[ClaimResult] = ()
    data: Sequence[DataSource] = ()
    """Where words, texts and images came from."""


@dataclass(frozen=True, kw_only=True)
class Run(Generic[SettingsT]):
    """What the work of a run is given."""

    settings: SettingsT
    models: "dict[str, LoadedModel]"
    """The models of ``settings.models()``, opened, by role. Work that copies or replaces one may take it out, so that
    it does not stay in memory."""

    folder: RunFolder

    @property
    def model(self) -> "LoadedModel":
        """The model of a run that has one."""
        return self.models["model"]

    @property
    def parts(self) -> Parts:
        """Values that are kept as they are finished, so that a killed run goes on with the next."""
        return self.folder.parts


@dataclass(frozen=True, kw_only=True)
class Job(Generic[SettingsT]):
    """A kind of run: what it is set by, and what it does."""

    settings: type[SettingsT]
    work: Callable[[Run[SettingsT]], Outcome]
    is_complete: Callable[[Path, SettingsT], bool] = lambda out, settings: True
    """False where something that a finished run made beside its record is no longer in its folder."""

    open_model: Callable[[str, SettingsT], OpenedModel] | None = None
    """Opens a model of the settings by its name; by default ``load_model``."""

    def run(self, settings: SettingsT, out: Path | str, *, fresh: bool = False) -> RunRecord:
        """The record of the work with these settings, also left in the folder ``out`` with its report.

        A run that was killed goes on with the first unfinished part; one that is finished is read back unless
        ``fresh``.

        Raises:
            ArmillaryError: the seed is negative, the folder is in use, a file can't be read, a model can't be opened,
                or the work refuses.
        """
        at_least(settings, seed=0)
        settings.check()
        files = {role: digest_of(path) for role, path in settings.files().items()}
        config = {**settings.config(), **({"files": files} if files else {})}
        with RunFolder.open(out, config) as folder:
            models = self._opened(settings)
            folder.bind({role: model.identity for role, model in models.items()})
            record = None if fresh else folder.finished()
            if record is not None and self.is_complete(folder.path, settings):
                return record
            # Taken before the work, which may change a model in place or let go of it.
            facts = {role: model.facts() for role, model in models.items()}
            outcome = self.work(Run(settings=settings, models=models, folder=folder))
            record = RunRecord(
                kind=settings.kind(),
                title=outcome.title,
                config=folder.config,
                models=facts,
                seed=settings.seed,
                measures=dict(outcome.measures),
                findings=list(outcome.findings),
                sections=list(outcome.sections),
                claims=list(outcome.claims),
                data=[asdict(source) for source in dict.fromkeys(outcome.data)],
                versions=versions(),
                machine=machine(),
                started=folder.started,
                seconds=folder.seconds,
            )
            folder.finish(record)
            return record

    def _opened(self, settings: SettingsT) -> "dict[str, LoadedModel]":
        """The models by role; the same name in two roles is opened once."""
        open_model = self.open_model or load_model
        opened = {name: open_model(name, settings) for name in dict.fromkeys(settings.models().values())}
        # A job that opens models in its own way knows what they are.
        return {role: cast("LoadedModel", opened[name]) for role, name in settings.models().items()}


def load_model(name: str, settings: RunSettings) -> "LoadedModel":
    """The model of that name, opened as the settings say. Raises ``ArmillaryError``."""
    # Imported late: a wrong setting or file is refused before torch is loaded.
    from armillary.models import load

    if not isinstance(settings, ModelSettings):
        return load(name)
    return load(name, **settings.opening())
