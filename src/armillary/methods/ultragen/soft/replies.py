"""What a model's reply says: numbered verdicts, slots, lines. Whatever can't be read is left out, never guessed."""

import json
import re
from collections.abc import Mapping
from typing import Any

from armillary.chat.chat_model import unfenced

_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_NUMBER = re.compile(r"\s*#?0*([1-9]\d*)[.)]?\s*")
_MARK = re.compile(r"^\s*(?:[-*\u2022+]|\(?\d{1,3}[.):])\s+")


def read_object(reply: str) -> Mapping[str, Any] | None:
    """The first JSON object of a reply, words around it passed over; None where there is none.

    A key that stands twice with two values is left out: which of them was meant is not known.
    """
    text = unfenced(reply)
    decoder = json.JSONDecoder(object_pairs_hook=_agreeing)
    # A brace inside a line may belong to an object that is cut off; what is in that is not taken for the answer.
    for start in (match.end() - 1 for match in re.finditer(r"\A[^{]*\{|^\s*\{", text, re.MULTILINE)):
        try:
            data, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) else None
    return None


def _agreeing(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    torn = set()
    for key, value in pairs:
        if key in values and values[key] != value:
            torn.add(key)
        values[key] = value
    return {key: value for key, value in values.items() if key not in torn}


def read_verdicts(reply: str, count: int) -> list[bool | None]:
    """Verdicts 1 to ``count`` of a reply; None for each that is missing or is neither true nor false.

    Read are an object of numbers, and for one requirement a bare yes or no. Nothing is taken from words around it.
    """
    verdicts: list[bool | None] = [None] * count
    data = read_object(reply)
    if data is None:
        bare = _truth(unfenced(reply).strip().strip(".*`\"' \n"))
        return [bare] if count == 1 else verdicts
    for key, value in data.items():
        number = _NUMBER.fullmatch(str(key))
        if number is not None and int(number[1]) <= count:
            verdicts[int(number[1]) - 1] = _truth(value)
    return verdicts


def _truth(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return _WORDS.get(value.strip().casefold()) if isinstance(value, str) else None


def read_lines(reply: str) -> list[str]:
    """The lines of a reply without bullets and numbers, blank and repeated ones left out."""
    lines = (_MARK.sub("", line).strip() for line in unfenced(reply).split("\n"))
    return list(dict.fromkeys(" ".join(line.split()) for line in lines if line))


def read_slots(reply: str, slots: Mapping[str, str]) -> dict[str, str] | None:
    """The sentences of a reply by slot, in the order of ``slots``; None where the reply holds no JSON object."""
    data = read_object(reply)
    if data is None:
        return None
    given = {str(key).strip().casefold(): value for key, value in data.items()}
    return {
        slot: " ".join(given[slot].split())
        for slot in slots
        if isinstance(given.get(slot), str) and given[slot].strip()
    }
