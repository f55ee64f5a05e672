"""``armillary train commit CONFIG.toml``: tune an image-text model with encoder and language model in balance."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.cli.options import read
from armillary.cli.train.tuning import TuneOptions, tune


@dataclass(frozen=True, kw_only=True)
class CoMMITOptions(TuneOptions):
    """Tune an image-text model while the learning rates of its encoder and its language model follow their balance.

    A run that was stopped goes on where it was when the same command is given again (docs/train.md).
    """


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return tune("commit", read(CoMMITOptions, arguments, "train commit"))
