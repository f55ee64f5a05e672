"""Loading without chatter: transformers' bars, notes and warnings are held back, and its settings put back after."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import CRITICAL
from typing import Any

from transformers.utils import logging

from armillary.errors import ModelError


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
    if isinstance(error, KeyError):
        return f"the name {error} is not known"
    lines = [" ".join(line.split()) for line in str(error).strip().split("\n")]
    heading = len(lines) > 1 and lines[0].endswith(":")  # what is wrong stands below it
    text = re.split(r"(?<!\.)\. ", lines[heading])[0] or type(error).__name__
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(".:; ")


def refuse_gaps(loading: Any, label: str) -> None:
    """Raises ModelError where transformers' loading info tells of weights that are missing or of another shape.

    They would otherwise be drawn at random, with a warning that is easily missed.
    """
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(f"{label} lacks {len(missing)} of its weights ({missing[0]}), so it is not a whole model.")
    for name, shape, expected in sorted(loading["mismatched_keys"], key=str):
        raise ModelError(
            f"{label} does not fit its config.json: {name} is {list(shape)} where {list(expected)} is expected."
        )


_HARMLESS = re.compile(
    r"(inv_freq|(attn|attention)\.(masked_)?bias|causal_mask|scale_attn|position_ids|embed_positions(\.weights)?)$"
)
"""Tables and masks that old files hold although they follow from the configuration."""


_OTHER_HEAD = re.compile(r"(^|\.)(score|classifier|qa_outputs|v_head|value_head|reward_head)\.")
"""Heads that some trainers leave beside a language model's; its logits don't go through them."""


def refuse_unread(loading: Any, label: str, architectures: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of heads of another kind that are passed over beside the language model's own.

    Raises ModelError where transformers' loading info tells of other tensors that the opened model has no room for, or
    where a head of another kind is what ``architectures`` (of config.json) says that the model was saved for: what
    opens would be another model than was saved.
    """
    unread = sorted(name for name in loading["unexpected_keys"] if not _HARMLESS.search(name))
    heads = tuple(name for name in unread if _OTHER_HEAD.search(name))
    for kind in architectures or ():
        if heads and re.search("Classification|QuestionAnswering|Reward", kind):
            raise ModelError(f"{label} was saved as {kind}, whose head ({heads[0]}) gives no next tokens.")
    if len(unread) > len(heads):
        first = next(name for name in unread if name not in heads)
        raise ModelError(
            f"{label} holds tensors that the model of its config.json has no place for ({first}, {len(unread)} in "
            "all), so that what opens is not what was saved; mend config.json, or write it without them."
        )
    return heads
