"""``armillary checkup MODEL``: look inside a model, or at what changed between two, and leave a report."""

from collections.abc import Sequence

from armillary.checkup.config import CheckupConfig
from armillary.cli.command import run_job
from armillary.runs.run import Job, Outcome, Run


def examine(run: Run[CheckupConfig]) -> Outcome:
    """Every diagnosis; its code needs torch, which help and wrong settings do not wait for."""
    from armillary.checkup.run import examine

    return examine(run)


JOBS = {"checkup": Job(settings=CheckupConfig, work=examine)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["checkup"], arguments)
