"""Loading without chatter: transformers' bars, notes and warnings are held back, and its settings put back after."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL

from transformers.utils import logging


@contextmanager
def quiet(*, bars: bool = False) -> Iterator[None]:
    """Inside the block transformers says nothing below an error; ``bars`` keeps its progress bars (hub downloads)."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    if not bars:
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def reason(error: BaseException) -> str:
    """The first sentence of a library's message, on one line, without its full stop: a part for our own sentence."""
    text = " ".join(str(error).strip().split("\n")[0].split()) or type(error).__name__
    text = text.split(". ")[0]
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(".:; ")
