"""``armillary replay RECORD``: run a record again in a fresh folder and say whether the same comes out."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.cli.bars import progress_shown
from armillary.cli.dispatch import job_of
from armillary.cli.main import COMMANDS
from armillary.cli.options import Folder, default_folder, read
from armillary.errors import UsageError
from armillary.records.plain import dumps
from armillary.records.record import RunRecord

SHOWN = 20
"""Differences that are printed; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """Run a record again with its own settings in a fresh folder, and compare. Exit code 1 when the two differ.

    Times, machine and versions may differ. On another machine the last digits may too: give --tolerance.
    """

    record: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECORD")]
    """A record.json, or the folder of a run."""

    out: Folder = None
    """Folder of the new run; by default one under armillary-runs."""

    tolerance: float = 0.0
    """Largest relative difference of two numbers that still counts as equal; 0 asks for equal bits."""

    json: bool = False
    """Print the verdict and the differences as JSON on stdout."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ReplayOptions, arguments, "replay")
    if not 0 <= options.tolerance < 1:
        raise UsageError(f"--tolerance must be from 0 to below 1, got {options.tolerance}.")
    old = RunRecord.load(options.record)
    job = job_of(COMMANDS, old.config)
    settings = job.settings.from_table(old.config, "The record's settings")
    folder = options.record if options.record.is_dir() else options.record.parent
    out = options.out or default_folder("replay", folder.resolve().name)
    if out.resolve() == folder.resolve():
        raise UsageError(f"A replay needs a folder of its own; {out} holds the record that is replayed.")
    with progress_shown():
        new = job.run(settings, out, fresh=True)
    # A setting that did not exist when the record was made has its default in both; one that no longer exists, as the
    # files of a run that reads none, is no difference where it had no value.
    given = settings.config()
    config = {name: value for name, value in {**old.config, **given}.items() if name in given or value}
    # What is told of a model today and was not then is no difference either.
    models = {role: {**new.models.get(role, {}), **facts} for role, facts in old.models.items()}
    known = {**old.comparable(), "config": config, "models": models}
    differing = list(differences(known, new.comparable(), options.tolerance))
    if options.json:
        verdict = {"identical": not differing, "differences": differing, "out": str(out)}
        sys.stdout.write(dumps(verdict, indent=1) + "\n")
    elif not differing:
        print(f"Identical{' within the tolerance' if options.tolerance else ''}: {out}")
    else:
        print(f"{len(differing)} differences between {options.record} and {out}:")
        print("\n".join(f"  {line}" for line in differing[:SHOWN]))
    return 1 if differing else 0


def differences(old: Any, new: Any, tolerance: float, path: str = "") -> Iterator[str]:
    """One line for each place where two records differ: "measures.city-country.estimate: 0.5, now 0.6"."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                yield f"{where}: only in the {'new' if key in new else 'old'} record"
            else:
                yield from differences(old[key], new[key], tolerance, where)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{path}: {len(old)} items, now {len(new)}"
            return
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, tolerance, f"{path}[{index}]")
    elif not _equal(old, new, tolerance):
        yield f"{path}: {_short(old)}, now {_short(new)}"


def _equal(old: Any, new: Any, tolerance: float) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (old, new))
    if numbers:
        return bool(old == new or math.isclose(old, new, rel_tol=tolerance))
    return bool(old == new)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
