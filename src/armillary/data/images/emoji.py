"""Pictures of emoji in four drawing styles with names, keywords and groups: fetched through npm, drawn here, cached.

The 1,595 emoji that Noto, Twemoji, OpenMoji and Fluent Emoji Flat all have, 64 pixels on white. They are split by
identity: all styles, genders and skin tones of one thing are in one split.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import UInt8

from armillary.data.images.drawings import (
    DrawingSet,
    EmojiLabel,
    Split,
    draw_all,
    in_every_style,
    read_drawings,
    read_labels,
    split_of,
)
from armillary.data.images.packages import DOWNLOAD_MB, EMOJI_PIXELS, LABELS, STYLES, pins_digest
from armillary.data.sources import DataSource
from armillary.errors import StorageError, UsageError
from armillary.extras import optional
from armillary.fetch import cache, npm
from armillary.progress import counted

_IMAGES, _LABELS = "pictures.npy", "labels.json"
_NEEDED = 150_000_000
"""Bytes of free space: the archives and the images, with room for what npm keeps of the packages."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Emoji:
    """Pictures of emoji, each in several styles, and what is known of each."""

    images: UInt8[np.ndarray, "e s p p 3"]
    """RGB, 0 to 255, on white."""

    labels: tuple[EmojiLabel, ...]
    """One an emoji, in Unicode's order, so that an index into it is an index into the images' first axis."""

    styles: tuple[str, ...]
    """Names of the second axis."""

    source: tuple[DataSource, ...]
    """The labels' and then each style's."""

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, name: str) -> tuple[int, ...]:
        """Indices of the emoji in "train" (about 80 %), "validation" or "test" (10 % each); UsageError otherwise.

        An identity is dealt by its hash alone, so a split never depends on a seed or on what else is in the set.
        """
        if name not in get_args(Split):
            raise UsageError(f"split must be 'train', 'validation' or 'test'; got {name!r}.")
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, tuple[int, ...]]:
        dealt = [split_of(label.identity) for label in self.labels]
        return {name: tuple(i for i, split in enumerate(dealt) if split == name) for name in get_args(Split)}

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in the order met."""
        return tuple(dict.fromkeys(label.group for label in self.labels))

    def subgroups(self, group: str) -> tuple[str, ...]:
        """The names of a group's subgroups, in the order met."""
        return tuple(dict.fromkeys(label.subgroup for label in self.labels if label.group == group))


def emoji_folder() -> Path:
    """Where the images are, or would be, in the cache; another folder for other packages or another size."""
    return cache.data_folder(f"emoji-{EMOJI_PIXELS}px", pins_digest())


def cached_emoji() -> Path | None:
    """The folder of the images if they have been fetched and are intact, else None."""
    folder = emoji_folder()
    return folder if cache.intact(folder) else None


def verify_emoji() -> None:
    """Reads every byte of the fetched images; StorageError where they are not what was written."""
    cache.verify(emoji_folder())


def fetch_emoji() -> Path:
    """The folder with ``pictures.npy`` and ``labels.json``, made at first use in about half a minute.

    The packages are downloaded with npm, checked by sha256 and drawn with resvg. Raises UsageError (a drawing package
    is missing), DownloadError (no npm, no network, wrong checksum) or StorageError (no space), and then leaves nothing
    behind.
    """
    folder = cached_emoji()
    if folder is not None:
        return folder
    for module, package in (("resvg_py", "resvg-py"), ("PIL", "pillow")):
        optional(module, "vision", package)
    return cache.build(emoji_folder(), _make, needed=_NEEDED)


def load_emoji() -> Emoji:
    """The images and labels, from the cache; UsageError where they have not been fetched.

    StorageError where what is there is not what was written.
    """
    folder = cached_emoji()
    if folder is None:
        raise UsageError(
            "the emoji images are not in the cache; fetch them once with `armillary data emoji` "
            "(from Python: fetch_emoji())."
        )
    try:
        about = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        return Emoji(
            images=np.load(folder / _IMAGES, allow_pickle=False),
            labels=tuple(EmojiLabel(**{**item, "tags": tuple(item["tags"])}) for item in about["emoji"]),
            styles=tuple(about["styles"]),
            source=tuple(DataSource(**item) for item in about["sources"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder} can't be read ({error}); delete it and fetch the images again.") from error


def _make(result: Path, scratch: Path) -> None:
    archives: list[Path] = []
    with counted(f"download drawings and names of emoji ({DOWNLOAD_MB} MB in packages)", len(STYLES) + 1) as packages:
        for item in (LABELS, *STYLES):
            archives.append(npm.download(item.package, scratch))
            packages.advance()
    with counted("read the drawings (packages)", len(archives)) as packages:
        labels = read_labels(archives[0])
        packages.advance()
        sets: list[DrawingSet] = []
        for archive in archives[1:]:
            sets.append(read_drawings(archive))
            packages.advance()
    kept, drawings = in_every_style(labels, sets)
    with counted("draw the images", len(kept) * len(sets)) as drawn:
        images = draw_all(drawings, EMOJI_PIXELS, drawn.advance)
    np.save(result / _IMAGES, images, allow_pickle=False)
    about = {
        "styles": [style.name for style in STYLES],
        "sources": [item.source.to_dict() for item in (LABELS, *STYLES)],
        "drawn": {"by": f"resvg-py {metadata.version('resvg-py')}", "pixels": EMOJI_PIXELS, "background": "white"},
        "emoji": [asdict(label) for label in kept],
    }
    (result / _LABELS).write_text(json.dumps(about, ensure_ascii=False, indent=0), encoding="utf-8")
