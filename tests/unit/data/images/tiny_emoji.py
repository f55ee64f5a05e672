"""Tiny icon archives that a registry hands out, and synthetic emoji images."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from armillary.data.images import emoji, packages as emoji_sources
from armillary.data.images.drawings import EmojiLabel
from armillary.data.images.emoji import Emoji
from armillary.data.images.packages import EmojiPackage
from armillary.fetch.npm import NpmPackage
from unit.fetch.tiny_packages import put_npm, write_archive


def rectangle(colour: str, x: int = 0, width: int = 10) -> str:
    """The body of a drawing on a canvas of 10 by 10: a bar from top to bottom."""
    return f'<rect x="{x}" y="0" width="{width}" height="10" fill="{colour}"/>'


def icon_set(icons: Mapping[str, str], codes: Mapping[str, str], **more: object) -> dict[str, bytes]:
    """The files of a drawing set on canvases of 10 by 10."""
    bodies = {name: {"body": body} for name, body in icons.items()}
    table = {"prefix": "tiny", "icons": bodies, "width": 10, "height": 10, **more}
    return {"package/icons.json": json.dumps(table).encode(), "package/chars.json": json.dumps(codes).encode()}


def label_set() -> dict[str, bytes]:
    """The files of five emoji in two groups, the last in none."""
    rows = [
        ("2620-FE0F", "skull", ["bone"], 1, 2, 9),
        ("1F34E", "red apple", ["fruit", "diet"], 0, 0, 3),
        ("1F449", "index pointing right", [], 1, 1, 4),
        ("1F989", "owl", ["bird"], 1, 2, 5),
    ]
    data: list[dict[str, object]] = [
        {"hexcode": code, "emoji": "x", "label": name, "tags": tags, "group": group, "subgroup": part, "order": order}
        for code, name, tags, group, part, order in rows
    ]
    data.append({"hexcode": "1F1E6", "emoji": "x", "label": "regional indicator A"})
    messages = {
        "groups": [{"order": 0, "message": "food & drink"}, {"order": 1, "message": "people & body"}],
        "subgroups": [{"order": i, "message": name} for i, name in enumerate(("fruit", "hands", "faces"))],
    }
    return {
        "package/en/data.json": json.dumps(data).encode(),
        "package/en/messages.json": json.dumps(messages).encode(),
    }


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, sets: Mapping[str, Mapping[str, bytes]]) -> Path:
    """Stands in for the registry: the set "labels" and one a style, pinned and handed out by npm; the calls' file."""
    store, pinned = folder / "store", {}
    store.mkdir(exist_ok=True)
    for name, files in sets.items():
        digest = write_archive(store / f"{name}@1.0.0.tgz", files)
        package = NpmPackage(name=name, version="1.0.0", sha256=digest)
        pinned[name] = EmojiPackage(name=name, title=f"{name} drawings", package=package, licence="MIT", url="")
    styles = tuple(item for name, item in pinned.items() if name != "labels")
    for module in (emoji, emoji_sources):
        monkeypatch.setattr(module, "STYLES", styles)
        monkeypatch.setattr(module, "LABELS", pinned["labels"])
    return put_npm(folder, monkeypatch, f'cp "{store}/$2.tgz" .')


def two_styles() -> dict[str, dict[str, bytes]]:
    """Labels and two drawing sets that have the apple, the hand and the skull in common, but not the owl."""
    codes = {"1f34e": "apple", "2620": "skull", "1f989": "owl"}
    left = {
        "apple": rectangle("#f00"),
        "skull": rectangle("#000", 0, 5),
        "index-pointing-right": rectangle("#00f", 5, 5),
    }
    mirrored = {"apple": rectangle("#800"), "skull": rectangle("#0f0"), "hand": rectangle("#00f", 0, 5)}
    alias = {"index-pointing-right": {"parent": "hand", "hFlip": True}}
    return {
        "labels": label_set(),
        "plain": icon_set({**left, "owl": rectangle("#888")}, codes),
        "flipped": icon_set(mirrored, {"1F34E": "apple", "2620-fe0f": "skull"}, aliases=alias),
    }


def emoji_with(
    subgroups: Mapping[str, tuple[str, ...]], per_subgroup: int = 24, size: int = 8, styles: int = 2
) -> Emoji:
    """Emoji of given groups and subgroups, each with its subgroup's keyword, and images of one colour a style."""
    labels = [
        EmojiLabel(
            hexcode=f"{0x20000 + 1000 * place + number:X}",
            character="x",
            label=f"{subgroup} number {'abcdefghijklmnopqrstuvwxyz'[number]}",
            tags=(f"{subgroup}ish", "thing", "rare" + str(number)),
            group=group,
            subgroup=subgroup,
        )
        for place, (group, subgroup) in enumerate(
            (group, part) for group, parts in subgroups.items() for part in parts
        )
        for number in range(per_subgroup)
    ]
    images = np.full((len(labels), styles, size, size, 3), 255, dtype=np.uint8)
    images[:, 0, 2:6, 2:6] = (255, 0, 0)
    return Emoji(images=images, labels=tuple(labels), styles=("drawn", "blank", "third")[:styles], source=())
