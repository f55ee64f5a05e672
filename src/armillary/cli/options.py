"""How a command line is read: a command's settings are its flags, and what every run takes beside them."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tyro

from armillary.cli.dispatch import TYPED
from armillary.errors import UsageError
from armillary.files import read_toml
from armillary.records.plain import decode_fields, is_required
from armillary.runs.settings import RunSettings, without_extras

Options = TypeVar("Options")
SettingsT = TypeVar("SettingsT", bound=RunSettings)
RunOptionsT = TypeVar("RunOptionsT", bound="RunOptions")

RUNS = Path("armillary-runs")
"""Folder, under the one where the command is called, that holds the runs without ``--out``."""

Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class JsonOption:
    """What a command shows that makes no run: words for a reader, or JSON."""

    json: bool = False
    """Print it as JSON on stdout."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run goes and how its result is shown: nothing that changes a number."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """Settings from a TOML file, a key for each flag with _ for -; flags that are given go before it."""

    out: Folder = None
    """Folder of the run (record.json, report.html); by default one under armillary-runs, named for what is run."""

    json: bool = False
    """Print the record as JSON on stdout, all else on stderr."""

    dry_run: bool = False
    """Take the whole path with a tiny random model and few prompts: seconds, no download, no meaning."""

    fresh: bool = False
    """Begin anew: forget what an earlier run left in the folder."""


def read(options: type[Options], arguments: Sequence[str], command: str) -> Options:
    """``arguments`` as ``options``; --help prints and raises SystemExit (0). UsageError for a wrong option."""
    return cast(Options, _parsed(options, arguments, command))


def read_run(
    settings: type[SettingsT], arguments: Sequence[str], options: type[RunOptionsT]
) -> tuple[SettingsT, RunOptionsT]:
    """The settings of a run, made small where ``--dry-run`` asks for it, and the options beside them.

    With ``--config FILE.toml`` the file's settings stand where no flag is given. UsageError for a wrong option.
    """
    # The class's own text is the command's purpose, which stands at the top of the help and not again over its flags.
    flags: object = Annotated[settings, tyro.conf.arg(help="What the result depends on.")]
    both = make_dataclass(settings.__name__, [("run", flags), ("output", options)], kw_only=True, frozen=True)
    both.__doc__ = settings.__doc__
    file = _config_file(arguments)
    default = None
    if file is not None:
        default = both(run=_partial(settings, read_toml(file), file), output=options())
    parsed = _parsed(both, arguments, settings.command, default)
    chosen: SettingsT = parsed.run
    return (chosen.dry() if parsed.output.dry_run else chosen), parsed.output


def _parsed(options: type, arguments: Sequence[str], command: str, default: object = None) -> Any:
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                options,
                args=arguments,
                prog=f"armillary {TYPED.get() or command}",
                default=default,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if stop.code:
            help_of = f"`armillary {TYPED.get() or command} --help` shows what is accepted."
            raise UsageError(f"{_sentence(complaint.getvalue())}; {help_of}") from None
        raise


def _config_file(arguments: Sequence[str]) -> str | None:
    """The value of ``--config``, which has to be known before the rest can be read."""
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith("--config="):
            return argument.partition("=")[2]
    return None


def _partial(settings: type[SettingsT], table: Mapping[str, Any], where: str) -> SettingsT:
    """Settings of which some may be missing still, for the flags to give."""
    given = decode_fields(settings, without_extras(table), where)
    # Not by its own __init__: what it checks may hold only once the flags have had their say.
    partial = object.__new__(settings)
    for field in fields(settings):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        object.__setattr__(partial, field.name, given.get(field.name, tyro.MISSING if is_required(field) else default))
    return partial


_TRIED = r"Error parsing (\S+): no type matching \{None\}\|(\w+) .* from \['(.*?)'\].*"
"""What tyro says of a wrong value for a setting that may be left out."""


def _sentence(box: str) -> str:
    """What tyro says in a box of several lines, as one: without frame, title and the pointer to the help text."""
    lines = [line.strip(" │|") for line in box.splitlines() if not line.startswith(("╭", "╰", "+"))]
    text = " ".join(";" if line and set(line) in ({"─"}, {"-"}) else line for line in lines)
    parts = (re.sub(r"\s+", " ", part).strip(" .").removesuffix("(required)") for part in text.split(";"))
    sentence = "; ".join(part.strip(" .") for part in parts if part.strip() and "full helptext" not in part)
    # Where a value may be left out, tyro tells what it tried for each of the two.
    sentence = re.sub(_TRIED, r"invalid value '\3' for argument '\1', which takes \2", sentence)
    # What the settings themselves refuse is a sentence already; the name of the group they stand in tells nobody more.
    return sentence.removeprefix("Error parsing run: ")


def default_folder(*words: str) -> Path:
    """``armillary-runs/checkup-smollm2-135m`` for ("checkup", "smollm2-135m"); of a path the last name counts."""
    parts = (re.sub(r"[^A-Za-z0-9._]+", "-", Path(word).name).strip("-.") for word in words)
    return RUNS / "-".join(part for part in parts if part)
