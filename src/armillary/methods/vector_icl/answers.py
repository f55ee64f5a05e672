"""Between values and the text that says them: numbers written and read, and the agreement of two texts."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

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


def number_values(
    numbers: Sequence[int | None], levels: int | None, limits: tuple[float, float]
) -> NDArray[np.float64]:
    """The numbers as values between the limits, float64; NaN for None."""
    values = np.array([math.nan if number is None else float(number) for number in numbers], dtype=np.float64)
    low, high = limits
    return values if levels is None else low + values * (high - low) / (levels - 1)


def digit_tokens(loaded: LoadedModel) -> list[int]:
    """Tokens of the vocabulary that are digits and nothing else."""
    vocabulary = loaded.tokenizer.get_vocab().items()
    digits = {index for token, index in vocabulary if token.isascii() and token.isdigit()}
    return sorted(digits & loaded.known_ids)


def token_f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words (case does not count, repeats do); 1 for two empty texts."""
    given, wanted = text.casefold().split(), reference.casefold().split()
    if not given or not wanted:
        return float(given == wanted)
    return 2 * (Counter(given) & Counter(wanted)).total() / (len(given) + len(wanted))


# Whole numbers as vectors of one-hot digits, and numbers read back from text.
#
# Legend: N numbers, W digits of each, 10 W the width of a vector.

DIGITS = 10
"""Digits of a number in the paper; vectors are ten times as wide."""

_INTEGER = re.compile(r"[0-9]+")


def encode_digits(values: Sequence[Any] | np.ndarray[Any, Any], *, digits: int = DIGITS) -> Float[Tensor, "n w"]:
    """One-hot digits of each number, padded with zeros at the left: float32 ``[n, 10 * digits]`` (official code).

    128 with ten digits has ones at 0, 10, ..., 60, 71, 82 and 98. UsageError for a number that is negative, has more
    digits, or is not a whole number type (floats are refused even where they are whole).
    """
    if digits < 1:
        raise UsageError(f"digits must be 1 or more, got {digits}.")
    rows = [_digits(value, index, digits) for index, value in enumerate(values)]
    if not rows:
        return torch.zeros((0, 10 * digits))
    return functional.one_hot(torch.tensor(rows), 10).flatten(1).float()


def decode_digits(vectors: Float[Tensor, "n w"]) -> list[int]:
    """The numbers again: the largest of each ten entries is the digit. UsageError for a width not divisible by 10."""
    if vectors.shape[1] % 10 or vectors.shape[1] == 0:
        raise UsageError(f"digit vectors are 10 wide for each digit; got a width of {vectors.shape[1]}.")
    rows = vectors.reshape(len(vectors), -1, 10).argmax(-1).tolist()
    return [int("".join(map(str, row))) for row in rows]


def first_integer(text: str) -> int | None:
    """The first run of digits in ``text`` as a number, also where it ends the text; None where there is none."""
    match = _INTEGER.search(text)
    return None if match is None else int(match.group())


def _digits(value: Any, index: int, digits: int) -> list[int]:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise UsageError(f"number {index} is {value!r}; digit vectors take whole numbers (int).")
    if not 0 <= int(value) < 10**digits:
        raise UsageError(f"number {index} is {value}; {digits} digits hold 0 to {10**digits - 1}.")
    return [int(digit) for digit in str(int(value)).zfill(digits)]
