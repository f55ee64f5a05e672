"""``armillary checkup MODEL``: look inside a model and leave a report."""

from collections.abc import Sequence

from armillary.checkup.config import CheckupConfig
from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.runs.run import Job, Outcome, Run


def examine(run: Run[CheckupConfig]) -> Outcome:
    """Every diagnosis; its code needs torch, which help and wrong settings do not wait for."""
    from armillary.checkup.run import examine

    return examine(run)


JOBS = {"checkup": Job(settings=CheckupConfig, work=examine)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    if any(argument.split("=")[0] == "--before" for argument in arguments):
        raise UsageError("`armillary checkup` takes one model; `armillary diff BASE AFTER` tells what changed.")
    return run_job(JOBS["checkup"], arguments)
