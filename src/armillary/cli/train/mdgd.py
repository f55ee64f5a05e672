"""``armillary train mdgd CONFIG.toml``: tune an image-text model while its image states stay where they were."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.cli.options import read
from armillary.cli.train.tuning import TuneOptions, tune


@dataclass(frozen=True, kw_only=True)
class MDGDOptions(TuneOptions):
    """Tune an image-text model on a new task while what it sees stays as it was, and tell what it forgot.

    A run that was stopped goes on where it was when the same command is given again (docs/train.md).
    """


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return tune("mdgd", read(MDGDOptions, arguments, "train mdgd"))
