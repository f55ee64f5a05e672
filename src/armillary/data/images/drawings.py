"""From the archives of the drawing sets and of the labels to images: which emoji all sets have, drawn on white.

Drawing sets are in Iconify's format: ``icons.json`` holds the body of an SVG by icon name (and aliases, some of them
mirrored), ``chars.json`` the icon name by code points.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from armillary.data.images.pixels import read_image
from armillary.errors import DownloadError
from armillary.fetch.npm import read_members

# Which emoji are one and the same thing, and which split an identity belongs to.
#
# [derived] An identity is an emoji without its skin tone, gender, direction and way of being displayed: "man cook",
# "woman cook" and "cook" are one. Splitting by it keeps near copies of a training image out of the test.

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
    tenth = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) % 10
    return "train" if tenth < 8 else "validation" if tenth == 8 else "test"


_ICONS, _CHARACTERS = "package/icons.json", "package/chars.json"
_DATA, _MESSAGES = "package/en/data.json", "package/en/messages.json"
_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_DEFAULT_SIDE = 16
"""Iconify's, for an icon that tells no width or height."""


@dataclass(frozen=True, kw_only=True)
class EmojiLabel:
    """What is known of one emoji."""

    hexcode: str
    """Its code points: "1F989", "1F9D1-200D-1F373"."""

    character: str
    label: str
    """Its name in English: "owl", "person: red hair"."""

    tags: tuple[str, ...]
    """Keywords: ("animal", "bird", "ornithology", "wise")."""

    group: str
    """One of nine: "animals & nature"."""

    subgroup: str
    """One of about a hundred: "birds"."""

    @property
    def identity(self) -> str:
        """What it shares with its variants in gender, skin tone and direction."""
        return identity_of(self.hexcode)


@dataclass(frozen=True)
class Drawing:
    """One vector drawing: what stands inside its SVG element, and the size of its canvas."""

    body: str
    width: float
    height: float

    def svg(self, size: int) -> str:
        """The SVG of ``size`` by ``size`` pixels, with the drawing as large as it can be in the middle."""
        canvas = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{size}" height="{size}"'
        return f"<svg {_NAMESPACES} {canvas}>{self.body}</svg>"


@dataclass(frozen=True)
class DrawingSet:
    """The drawings of one style."""

    icons: dict[str, Any]
    """What ``icons.json`` holds."""

    by_code: dict[str, str]
    """Icon name by code points without display marks."""

    def drawing(self, hexcode: str, label: str) -> Drawing | None:
        """The drawing of an emoji found by its code points, else by its label; None where the set has none."""
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        for name in (self.by_code.get(short_code(hexcode)), slug):
            if name is not None and (drawing := self._named(name)) is not None:
                return drawing
        return None

    def _named(self, name: str) -> Drawing | None:
        mirrored = False
        alias = self.icons.get("aliases", {}).get(name)
        if alias is not None:
            if set(alias) - {"parent", "hFlip"}:  # turned or resized: none of the sets has such a one
                return None
            name, mirrored = alias["parent"], bool(alias.get("hFlip"))
        icon = self.icons["icons"].get(name)
        if icon is None:
            return None
        width, height = (icon.get(side, self.icons.get(side, _DEFAULT_SIDE)) for side in ("width", "height"))
        body = icon["body"]
        if mirrored:
            body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
        return Drawing(body, width, height)


def read_drawings(archive: Path) -> DrawingSet:
    """The drawings in an archive of an Iconify set; DownloadError where they are not in that form."""
    members = read_members(archive, [_ICONS, _CHARACTERS])
    try:
        icons, characters = json.loads(members[_ICONS]), json.loads(members[_CHARACTERS])
        if not isinstance(icons["icons"], dict):
            raise _changed(archive)
        return DrawingSet(icons, {short_code(code): name for code, name in characters.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _changed(archive) from error


def read_labels(archive: Path) -> list[EmojiLabel]:
    """What emojibase tells of each emoji that has a group, in its order.

    DownloadError where the archive is not of that form.
    """
    members = read_members(archive, [_DATA, _MESSAGES])
    try:
        messages = json.loads(members[_MESSAGES])
        groups, subgroups = (
            {item["order"]: item["message"] for item in messages[kind]} for kind in ("groups", "subgroups")
        )
        known = [item for item in json.loads(members[_DATA]) if "group" in item]
        return [
            EmojiLabel(
                hexcode=item["hexcode"],
                character=item["emoji"],
                label=item["label"],
                tags=tuple(item.get("tags", ())),
                group=groups[item["group"]],
                subgroup=subgroups[item["subgroup"]],
            )
            for item in sorted(known, key=lambda item: item["order"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _changed(archive) from error


def in_every_style(
    labels: Sequence[EmojiLabel], sets: Sequence[DrawingSet]
) -> tuple[list[EmojiLabel], list[list[Drawing]]]:
    """The labels of the emoji that every set has, and each one's drawings by style; DownloadError for none."""
    kept: list[EmojiLabel] = []
    drawings: list[list[Drawing]] = []
    for label in labels:
        styles = [drawing_set.drawing(label.hexcode, label.label) for drawing_set in sets]
        drawn = [drawing for drawing in styles if drawing is not None]
        if len(drawn) == len(sets):
            kept.append(label)
            drawings.append(drawn)
    if not kept:
        raise DownloadError("the downloaded drawing sets have no emoji in common; the packages have changed.")
    return kept, drawings


def draw_all(
    drawings: Sequence[Sequence[Drawing]], size: int, on_image: Callable[[], None]
) -> UInt8[np.ndarray, "e s p p 3"]:
    """Every drawing as an image of ``size`` pixels on a side; ``on_image`` is called after each."""
    images = np.empty((len(drawings), len(drawings[0]), size, size, 3), dtype=np.uint8)
    for emoji, styles in enumerate(drawings):
        for style, drawing in enumerate(styles):
            images[emoji, style] = draw(drawing, size)
            on_image()
    return images


def draw(drawing: Drawing, size: int) -> UInt8[np.ndarray, "p p 3"]:
    """One drawing on white, RGB in 0 to 255, drawn by resvg; DownloadError if it can't be."""
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=drawing.svg(size), background="#ffffff", skip_system_fonts=True))
    except ValueError as error:
        raise DownloadError(f"a downloaded drawing can't be rendered ({error}); the packages have changed.") from error
    return np.asarray(read_image(png))


def _changed(archive: Path) -> DownloadError:
    return DownloadError(f"{archive.name} does not hold what was expected of it; the package has changed.")
