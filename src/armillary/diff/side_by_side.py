"""Two answers to one prompt, cut where they part."""

import re
from collections.abc import Sequence

Side = tuple[str, str]


def parted(before: Sequence[str], after: Sequence[str]) -> tuple[str, Side, Side, int]:
    """What both answers begin with; of each the first piece of its own and the rest; how many pieces they share.

    ``before`` and ``after`` are the texts of the answers' tokens, in order, or their ``words`` where the models have
    tokenizers of their own, which cut one text in two ways.
    """
    shared = 0
    while shared < min(len(before), len(after)) and before[shared] == after[shared]:
        shared += 1
    sides = [("".join(pieces[shared : shared + 1]), "".join(pieces[shared + 1 :])) for pieces in (before, after)]
    return "".join(before[:shared]), sides[0], sides[1], shared


def words(text: str) -> list[str]:
    """``text`` in words, each with the white space before it; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+\Z", text)
