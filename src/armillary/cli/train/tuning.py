"""What ``armillary train mdgd`` and ``armillary train commit`` share: the options, and the TOML file they read."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from armillary.cli.old_run import run_in, settings_of, tell
from armillary.cli.options import Folder, default_folder
from armillary.errors import StorageError, UsageError
from armillary.records.record import RunRecord

if TYPE_CHECKING:
    from armillary.finetuning.config import Method, TuningConfig


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of a tuning run that its file does not hold."""

    config: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG.toml")]
    """Settings of the run: model, output, [data], [training] and the method's own table (docs/train.md)."""

    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """A setting in place of the file's, such as training.max_steps=50; may be given several times."""

    seed: int | None = None
    """Seed of every draw, in place of the file's (0 where it has none)."""

    out: Folder = None
    """Folder of the run, in place of the file's output."""

    json: bool = False
    """Print the record as JSON on stdout, all else on stderr."""

    dry_run: bool = False
    """Take the whole path with a tiny random model and few questions: seconds, no download, no meaning."""

    fresh: bool = False
    """Begin anew: forget what an earlier run left in the folder."""


def tune(method: "Method", options: TuneOptions) -> int:
    """Read the file, run, and tell where the report and the model are."""
    from armillary.finetuning.config import tuning_config

    table = read_table(options.config, options.set)
    config = tuning_config(method, table, seed=options.seed, dry_run=options.dry_run)
    out = options.out or _output(table, method, options)
    record = execute(config, out, fresh=options.fresh)
    tell(record, out, as_json=options.json)
    if not options.json:
        print(f"Model: {out / 'model'}")
    return 0


def execute(config: "TuningConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of a tuning run in the folder ``out``."""

    def work() -> RunRecord:
        from armillary.finetuning.run import run_tuning

        return run_tuning(config, out, fresh=fresh)

    return run_in(out, work, fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """A tuning run with the settings of a record."""
    from armillary.finetuning.config import TuningConfig

    kept = settings_of(config)
    kept.pop("files", None)  # digests, which the run makes anew
    return execute(TuningConfig.from_dict(kept), out, fresh=True)


def _output(table: Mapping[str, Any], method: str, options: TuneOptions) -> Path:
    if options.dry_run:  # what the file names may hold a real model
        return default_folder(f"train-{method}", options.config.stem, "dry")
    output = table.get("output")
    if output is None:
        return default_folder(f"train-{method}", options.config.stem)
    if not isinstance(output, str) or not output:
        raise UsageError(f"output must be the name of a folder; got {output!r}.")
    return Path(output)


def read_table(path: Path, changes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The file as a table, with each ``key.key=value`` of ``changes`` put into it.

    UsageError for a missing file, one that is no TOML, and a change that is no pair.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no configuration file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
    for change in changes:
        key, sign, value = change.partition("=")
        names = key.strip().split(".")
        if not sign or not all(names):
            raise UsageError(f"--set takes KEY=VALUE, such as training.max_steps=50; got {change!r}.")
        _put(table, names, _value(value.strip()), change)
    return table


def _put(table: dict[str, Any], names: list[str], value: Any, change: str) -> None:
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {change}: {name!r} is no table of the configuration.")
    table[names[-1]] = value


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
