"""Settings of a run: one frozen dataclass that is a command's flags, a table of a TOML file and a call in Python.

What is declared here once is read in three ways: ``armillary.cli.options.read`` turns the fields into flags, their
docstrings into help; ``from_table`` reads them from TOML or from a record; Python calls the class. Needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypedDict, TypeVar

import tyro

from armillary.errors import UsageError
from armillary.records.plain import decode, plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DRY_MODEL, DRY_BEFORE = "tiny-llama", "tiny-qwen3"
"""Tiny random models that stand in for the real ones under ``--dry-run``."""

ModelName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
OtherModel = Annotated[str | None, tyro.conf.arg(metavar="MODEL")]
File = Annotated[str | None, tyro.conf.arg(metavar="FILE")]
Config = TypeVar("Config", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that the result of a run depends on, but for the models' weights and the files that it reads."""

    command: ClassVar[str] = ""
    """The words after ``armillary``, such as "bricks edit"; they name the run in its record."""

    seed: int = 0
    """Seed of every draw: the same seed gives the same record."""

    @classmethod
    def kind(cls) -> str:
        """The kind of record that a run leaves: the command's first word."""
        return cls.command.split()[0].replace("-", "_")

    def models(self) -> dict[str, str]:
        """Name of each model that the run opens, by its role in the record."""
        return {}

    def files(self) -> dict[str, str]:
        """Path of each file that is read beside the models, by role: another content is another run."""
        return {}

    def check(self) -> None:
        """Refuse, before models are opened, what shows only when files or data are read. Raises ``ArmillaryError``."""

    def names(self) -> tuple[str, ...]:
        """Words that make the run's default folder differ from those of other settings."""
        return tuple(self.models().values())

    def dry(self) -> Self:
        """The same on tiny random models and few prompts: seconds, no download, no meaning."""
        return self

    def config(self) -> dict[str, Any]:
        """The settings as a record keeps them: the command, then every field."""
        return {"command": self.command, **plain(self)}

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Self:
        """The settings of a TOML table or of a record; ``where`` names it in messages.

        Raises:
            UsageError: a field is missing, unknown or of another type; the sentence names it.
        """
        return decode(cls, without_extras(table), where)


class Opening(TypedDict):
    """How ``models.load`` and ``models.open_adapter`` open a model."""

    dtype: str
    device: str | None
    revision: str | None
    quantize: str | None
    trust_remote_code: bool


@dataclass(frozen=True, kw_only=True)
class ModelSettings(RunSettings):
    """How models are opened: the same for every command that opens one."""

    dtype: str = "float32"
    """Number format of the weights: float32, bfloat16, float16 or float64."""

    device: str | None = None
    """cuda, mps or cpu, by default the first of these that is there; auto spreads a model larger than a card."""

    revision: str | None = None
    """Branch, tag or commit of a hub id that names none itself, as in owner/name@main."""

    quantize: Literal["int8", "int4"] | None = None
    """Pack linear layers as the model is opened, by bitsandbytes or torchao where one is installed."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""

    def opening(self) -> Opening:
        """These options, for ``models.load``."""
        return Opening(
            dtype=self.dtype,
            device=self.device,
            revision=self.revision,
            quantize=self.quantize,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True, kw_only=True)
class OneModelSettings(ModelSettings):
    """A run on one model."""

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model (`armillary models list` shows the packaged ones)."""

    def models(self) -> dict[str, str]:
        """The one model, in the role "model"."""
        return {"model": self.model}

    def dry(self) -> Self:
        """The same on a tiny random model."""
        return replace(self, model=DRY_MODEL)


def without_extras(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings alone of what a record keeps as its config.

    Beside them it names the command, and has the digests of the files that were read, which a new run makes anew.
    """
    return {name: value for name, value in table.items() if name not in ("command", "files")}


def at_least(settings: object, **least: int) -> None:
    """UsageError for the first of these fields that is below its least value; None is let through."""
    for name, value in least.items():
        given = getattr(settings, name)
        if given is not None and given < value:
            raise UsageError(f"{name} must be {value} or more, got {given}.")


def not_empty(settings: object, *names: str) -> None:
    """UsageError for the first of these fields that is a text of blanks, which would be read as the folder one is in;
    None is let through."""
    for name in names:
        given = getattr(settings, name)
        if given is not None and not given.strip():
            raise UsageError(f"{name} is empty; give a name or path, or leave it out.")


def changed(config: Config, settings: Mapping[str, Any], what: str) -> Config:
    """The configuration with these fields changed; UsageError, saying what has no such field, for an unknown one."""
    known = [field.name for field in fields(config)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UsageError(f"{what} has no setting {unknown[0]!r}; its settings are {', '.join(known)}.")
    return replace(config, **settings)
