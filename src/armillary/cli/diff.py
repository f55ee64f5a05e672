"""``armillary diff BASE AFTER``: what changed between two models, and how sure that is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from armillary.cli.command import run_job
from armillary.diff.config import DiffConfig
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import RunSettings

if TYPE_CHECKING:
    from armillary.diff.pair import Origin


def compare(run: Run[DiffConfig]) -> Outcome:
    """Every instrument; its code needs torch, which help and wrong settings do not wait for."""
    from armillary.diff.run import compare

    return compare(run)


def origin(name: str, settings: RunSettings) -> "Origin":
    """Where a model comes from, without opening it."""
    from armillary.diff.pair import origin_of

    return origin_of(name, settings)


JOBS = {"diff": Job(settings=DiffConfig, work=compare, open_model=origin)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["diff"], arguments)
