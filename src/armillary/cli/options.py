"""The options that every run shares, and the one way a command line is read."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from armillary.errors import UsageError

Options = TypeVar("Options")

RUNS = Path("armillary-runs")
"""Folder, under the one where the command is called, that holds the runs without ``--out``."""

DRY_MODEL, DRY_BEFORE = "tiny-llama", "tiny-qwen3"
"""Tiny random models that stand in for the real ones under ``--dry-run``."""

ModelName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
EarlierModel = Annotated[str | None, tyro.conf.arg(metavar="MODEL")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run goes and how it is told."""

    seed: int = 0
    """Seed of every draw: the same seed gives the same record."""

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
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                options, args=arguments, prog=f"armillary {command}", config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as stop:
        if stop.code:
            help_of = f"`armillary {command} --help` tells what is accepted."
            raise UsageError(f"{_sentence(complaint.getvalue())}; {help_of}") from None
        raise


def _sentence(box: str) -> str:
    """What tyro says in a box of several lines, as one: without frame, title and the pointer to the help text."""
    lines = [line.strip(" │|") for line in box.splitlines() if not line.startswith(("╭", "╰", "+"))]
    said = " ".join(";" if line and set(line) in ({"─"}, {"-"}) else line for line in lines)
    parts = (re.sub(r"\s+", " ", part).strip(" .").removesuffix("(required)") for part in said.split(";"))
    return "; ".join(part.strip(" .") for part in parts if part.strip() and "full helptext" not in part)


def default_folder(*words: str) -> Path:
    """``armillary-runs/checkup-smollm2-135m`` for ("checkup", "smollm2-135m"); of a path the last name counts."""
    parts = (re.sub(r"[^A-Za-z0-9._]+", "-", Path(word).name).strip("-.") for word in words)
    return RUNS / "-".join(part for part in parts if part)
