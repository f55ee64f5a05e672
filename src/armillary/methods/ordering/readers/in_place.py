"""Steps of a text in another order, everything around them where it was."""

from collections.abc import Sequence


def in_place(text: str, written: Sequence[str], wanted: Sequence[str]) -> str | None:
    """``text`` with the steps ``written`` in the order ``wanted``, and the white space between them as it was.

    None where the steps don't stand in the text one behind the other, or something else stands between two of them: a
    heading, or the end of what was thought, would then belong to other steps than it does.
    """
    spans, end = list[tuple[int, int]](), 0
    for step in written:
        start = text.find(step, end)
        if start < 0 or (spans and text[end:start].strip()):
            return None
        end = start + len(step)
        spans.append((start, end))
    parts, behind = list[str](), 0
    for (start, end), step in zip(spans, wanted, strict=True):
        parts += [text[behind:start], step]
        behind = end
    return "".join([*parts, text[behind:]])
