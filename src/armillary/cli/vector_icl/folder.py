"""What both actions know of a fit: where it stands in its folder, and how its warnings are shown."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from armillary.cli import console

FITTED = "fitted"
"""Folder, in that of the run, with what predicting needs."""

COLUMNS = "columns.json"
"""Names of the columns that were the vector, and of the target's: beside the estimator, which knows no names."""


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Warnings for users as a sentence on stderr, without the position in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        console.print_note(f"Note: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"armillary\.")
        warnings.showwarning = show
        yield
