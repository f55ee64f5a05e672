"""The drawing sets and the labels that the emoji images are made from: pinned packages, licences, who drew them."""

import hashlib
from dataclasses import dataclass

from armillary.data.sources import DataSource
from armillary.fetch.npm import NpmPackage

EMOJI_PIXELS = 64
"""Pixels on a side."""


@dataclass(frozen=True, kw_only=True)
class EmojiPackage:
    """One package: how it is obtained and what a record says of it."""

    name: str
    """Short: of a drawing set, the name of its style."""

    title: str
    package: NpmPackage
    licence: str
    url: str

    @property
    def source(self) -> DataSource:
        """The entry for a record."""
        pinned = self.package
        return DataSource(
            name=self.title, package=pinned.name, version=pinned.version, licence=self.licence, url=self.url
        )


STYLES: tuple[EmojiPackage, ...] = (
    EmojiPackage(
        name="noto",
        title="Noto Emoji drawings by Google",
        package=NpmPackage(
            name="@iconify-json/noto",
            version="1.2.9",
            sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        ),
        licence="Apache-2.0",
        url="https://github.com/googlefonts/noto-emoji",
    ),
    EmojiPackage(
        name="twemoji",
        title="Twemoji drawings by Twitter",
        package=NpmPackage(
            name="@iconify-json/twemoji",
            version="1.2.5",
            sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        ),
        licence="CC-BY-4.0",
        url="https://github.com/jdecked/twemoji",
    ),
    EmojiPackage(
        name="openmoji",
        title="OpenMoji drawings by the OpenMoji project",
        package=NpmPackage(
            name="@iconify-json/openmoji",
            version="1.2.29",
            sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        ),
        licence="CC-BY-SA-4.0",
        url="https://github.com/hfg-gmuend/openmoji",
    ),
    EmojiPackage(
        name="fluent",
        title="Fluent Emoji Flat drawings by Microsoft",
        package=NpmPackage(
            name="@iconify-json/fluent-emoji-flat",
            version="1.2.6",
            sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        ),
        licence="MIT",
        url="https://github.com/microsoft/fluentui-emoji",
    ),
)

LABELS = EmojiPackage(
    name="emojibase",
    title="Emojibase: names, keywords and groups of emoji, from Unicode CLDR",
    package=NpmPackage(
        name="emojibase-data",
        version="17.0.0",
        sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
    licence="MIT",
    url="https://emojibase.dev",
)

DOWNLOAD_MB, CACHE_MB = 14, 79
IMAGE_COUNT = 6_380
"""1,595 emoji that all four sets have."""

LICENCE = "Apache-2.0, CC-BY-4.0, CC-BY-SA-4.0 and MIT, by drawing set"


def pins_digest() -> str:
    """A short name for what is pinned here: it changes with any package and with the size of the images."""
    pins = [item.package.sha256 for item in (*STYLES, LABELS)]
    return hashlib.sha256(" ".join([*pins, str(EMOJI_PIXELS)]).encode()).hexdigest()[:8]
