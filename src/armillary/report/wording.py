"""How a report writes text and numbers: hidden characters shown, three digits, both ends of an interval."""

import math
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from armillary.numerics.intervals import Interval

NOTHING = "\N{EN DASH}"
"""What stands where a value is missing."""

MINUS = "\N{MINUS SIGN}"

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip

# Joiners shape words and emoji; every other format character can hide or reorder text.
_HARMLESS = {"\u200c", "\u200d", "\xad"}
_LINE_ENDS = {"\u2028", "\u2029"}


def visible(text: str) -> str:
    """``text`` with every character that would be hidden, or would reorder its neighbours, shown as a sign.

    Control characters become control pictures (NUL is "␀"), direction overrides and the like become "⟨U+202E⟩",
    lone surrogates and noncharacters become "\ufffd".
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if category == "Cs" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return "\ufffd"
    if category == "Cc" or (category == "Cf" and character not in _HARMLESS) or character in _LINE_ENDS:
        return f"⟨U+{code:04X}⟩"
    return character


def number(value: float | int | None, limits: Sequence[float] = ()) -> str:
    """A number for a reader: whole numbers with thousands separators, others to three significant digits.

    From 0.01 up, three decimals are enough. Where it was held against ``limits``, it has as many digits as show on
    which side of each it lies.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    short = _short(value)
    for digits in range(4, 18):
        read = float(short.replace(MINUS, "-").replace(",", ""))
        if all(_side(read, limit) == _side(value, limit) for limit in limits):
            break
        short = f"{value:.{digits}g}".replace("-", MINUS)
    return short


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)


def _short(value: float | int) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        digits, exponent = f"{value:.2e}".split("e")
        shown = f"{digits}e{int(exponent)}"
    elif abs(value) >= 100:
        shown = f"{value:,.0f}"
    else:
        decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
        shown = f"{value:.{min(decimals, 3) if abs(value) >= 0.01 else decimals}f}"
    return shown.replace("-", MINUS)


def ends(interval: Interval, limits: Sequence[float] = ()) -> str:
    """Both ends of an interval, "0.61 to 0.80"; empty where they are not known. ``limits`` as in ``number``."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{number(interval.low, limits)} to {number(interval.high, limits)}"


def basis(interval: Interval) -> str:
    """What a number rests on: "95% interval, bootstrap over 40 words"; for a bare number, how many runs."""
    count = f"n = {interval.n:,}"
    if interval.low is None or interval.high is None:
        return interval.how or count
    return f"{interval.level:.0%} interval, {interval.how or count}"


def tick(value: float) -> str:
    """A number on an axis, as short as it can be: "0.25", "20k", "1.5M"."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == 'k' else size):g}{sign}".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """ "42 s", "3 min 5 s", "2 h 10 min"."""
    if not math.isfinite(seconds):
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(started: str) -> str:
    """An ISO time for a reader, "1 July 2026, 10:00 UTC"; text that is none stays as it is."""
    try:
        when = datetime.fromisoformat(started).astimezone(UTC)
    except (ValueError, OverflowError):
        return started
    # Not %B, which follows the reader's locale.
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}, {when:%H:%M} UTC"


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, cut in the middle so that both ends tell labels apart."""
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
