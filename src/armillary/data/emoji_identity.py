"""Which emoji are one and the same thing, and which split an identity belongs to.

[derived] An identity is an emoji without its skin tone, gender, direction and way of being displayed: "man cook",
"woman cook" and "cook" are one. Splitting by it keeps near copies of a training picture out of the test.
"""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]

_JOINER = "200D"
_TONES = frozenset(f"1F3F{last}" for last in "BCDEF")
_GENDERS, _DIRECTION, _DISPLAY = frozenset({"2640", "2642"}), "27A1", frozenset({"FE0E", "FE0F"})
# Pairs that Unicode has as characters of their own, each with its third, ungendered member (or the older of two).
_UNGENDERED = {
    "1F468": "1F9D1",  # man: person
    "1F469": "1F9D1",  # woman
    "1F466": "1F9D2",  # boy: child
    "1F467": "1F9D2",  # girl
    "1F474": "1F9D3",  # old man: older person
    "1F475": "1F9D3",  # old woman
    "1F934": "1FAC5",  # prince: person with crown
    "1F478": "1FAC5",  # princess
    "1F930": "1FAC4",  # pregnant woman: pregnant person
    "1FAC3": "1FAC4",  # pregnant man
    "1F57A": "1F483",  # man dancing: woman dancing
    "1F385": "1F9D1-1F384",  # Santa Claus: Mx Claus
    "1F936": "1F9D1-1F384",  # Mrs. Claus
}


def short_code(hexcode: str) -> str:
    """A sequence of code points without the marks that only say how it is displayed: "2620-FE0F" becomes "2620"."""
    return "-".join(part for part in hexcode.upper().split("-") if part not in _DISPLAY)


def identity_of(hexcode: str) -> str:
    """The code points of the base that an emoji varies in skin tone, gender or direction.

    "1F468-1F3FD-200D-1F373" (man cook, medium skin tone) and "1F9D1-200D-1F373" (cook) give "1F9D1-1F373".
    """
    kept = []
    parts = short_code(hexcode).split("-")
    for before, part in zip([None, *parts], parts, strict=False):
        modifies = before == _JOINER and (part in _GENDERS or part == _DIRECTION)
        if part != _JOINER and not modifies and (part not in _TONES or len(parts) == 1):
            kept.append(_UNGENDERED.get(part, part))
    return "-".join(kept)


def split_of(identity: str) -> Split:
    """The split of an identity by its hash alone: of a hundred about 80 train, 10 validate and 10 test."""
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) % 10
    return "train" if place < 8 else "validation" if place == 8 else "test"
