"""Made-up pictures in place of the emoji: for ``--dry-run`` and tests, without a download."""

import numpy as np

from armillary.data.emoji import Emoji, EmojiLabel

_GROUPS = {
    "food & drink": ("fruits", "drinks"), "animals & nature": ("birds", "bugs"), "objects": ("tools", "books"),
}  # fmt: skip
_COLOURS = ((220, 20, 20), (20, 60, 230), (30, 160, 40), (150, 50, 190), (240, 220, 40), (250, 140, 20))
_EACH, _SIZE = 30, 28
STYLES = ("bar", "block", "frame", "cross")


def stand_in_emoji() -> Emoji:
    """Emoji of six subgroups in four styles: each subgroup has its colour and its keyword, each style its shape."""
    labels, pictures = [], []
    for place, (group, subgroup) in enumerate((group, part) for group, parts in _GROUPS.items() for part in parts):
        for number in range(_EACH):
            labels.append(
                EmojiLabel(
                    hexcode=f"{0x20000 + 1000 * place + number:X}",
                    character="x",
                    label=f"{subgroup.removesuffix('s')} {chr(ord('a') + number % 26)}{'x' * (number // 26)}",
                    tags=(f"{subgroup}like", "thing"),
                    group=group,
                    subgroup=subgroup,
                )
            )
            pictures.append([_drawn(style, place, number) for style in range(len(STYLES))])
    return Emoji(pictures=np.array(pictures, dtype=np.uint8), labels=tuple(labels), styles=STYLES, source=())


def _drawn(style: int, place: int, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.full((_SIZE, _SIZE, 3), 255, dtype=np.uint8)
    shift, colour = number % 6, _COLOURS[place]
    if style == 0:
        picture[4:24, 6 + shift : 14 + shift] = colour
    elif style == 1:
        picture[6 + shift : 22 + shift, 6:22] = colour
    elif style == 2:
        picture[3:25, 3:25] = colour
        picture[9:19, 9:19] = 255
    else:
        picture[11:17, 2:26] = colour
        picture[2:26, 8 + shift : 14 + shift] = colour
    return picture
