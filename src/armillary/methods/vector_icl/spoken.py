"""Between values and the text that says them: numbers written and read, and the agreement of two texts."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.models.loaded import LoadedModel


def number_text(value: float, levels: int | None, limits: tuple[float, float]) -> str:
    """The digits of a whole number of 0 or more, or with ``levels`` of the value's place between the limits.

    UsageError for a value that can't be written.
    """
    if levels is None:
        if not (math.isfinite(value) and value >= 0 and value == int(value)):
            raise UsageError(f"target {value} is not a whole number of 0 or more; set levels to write other numbers.")
        return str(int(value))
    if isinstance(levels, bool) or levels < 2:
        raise UsageError(f"levels must be 2 or more, or None; got {levels}.")
    low, high = limits
    return str(round((value - low) / (high - low) * (levels - 1)) if high > low else 0)


def number_values(told: Sequence[int | None], levels: int | None, limits: tuple[float, float]) -> NDArray[np.float64]:
    """The numbers that were told, float64; NaN for None."""
    found = np.array([math.nan if number is None else float(number) for number in told], dtype=np.float64)
    low, high = limits
    return found if levels is None else low + found * (high - low) / (levels - 1)


def digit_tokens(loaded: LoadedModel) -> list[int]:
    """Tokens of the vocabulary that are digits and nothing else."""
    vocabulary = loaded.tokenizer.get_vocab().items()
    return sorted(index for token, index in vocabulary if token.isascii() and token.isdigit())


def token_f1(told: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words (case does not count, repeats do); 1 for two empty texts."""
    said, wanted = told.casefold().split(), reference.casefold().split()
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (Counter(said) & Counter(wanted)).total() / (len(said) + len(wanted))
