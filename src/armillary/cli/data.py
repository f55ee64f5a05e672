"""``armillary data list|emoji``: the image and text data there are, and fetching the emoji images."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from armillary.cli.bars import progress_shown
from armillary.cli.console import print_note
from armillary.cli.dispatch import Command, run_action
from armillary.cli.options import JsonOption, read
from armillary.errors import UsageError
from armillary.progress import counted
from armillary.records.plain import dumps

ACTIONS = (
    Command("list", "List the image and text data: size, licence, whether they are here.", "data", "run_list"),
    Command("emoji", "Fetch the emoji images into the cache.", "data", "run_emoji"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("data", "The data that methods and experiments use.", ACTIONS, arguments)


@dataclass(frozen=True, kw_only=True)
class ListData(JsonOption):
    """List the image and text data: what they are, size, licence, and whether they are on this machine."""

    count: bool = False
    """Count the texts too, which reads all that are here: some ten seconds."""


@dataclass(frozen=True, kw_only=True)
class FetchEmoji(JsonOption):
    """Fetch the emoji images into the cache, each package checked by sha256; a second call finds and verifies them.

    Needs npm (it comes with Node.js) and the extra armillary[vision].
    """


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """One line of the list."""

    name: str
    kind: Literal["images", "capability", "corpus"]
    title: str
    count: int | None
    """Images or texts; None where they weren't counted."""

    licence: str | None
    """None where the package that holds the data is not installed."""

    fetched: bool
    """True for what is fetched into the cache, False for what a package installs."""

    here: bool
    """In the cache, or installed."""

    def facts(self) -> str:
        """How many, under which licence, and whether they are here, in one line."""
        noun = "images" if self.kind == "images" else "texts"
        count = noun if self.count is None else f"{self.count:,} {noun}"
        here, missing = ("in the cache", "not fetched yet") if self.fetched else ("installed", "not installed")
        return "; ".join([count, *([self.licence] if self.licence else []), here if self.here else missing])


def run_list(arguments: Sequence[str]) -> int:
    """Print a line for each set of data, or the list as JSON."""
    options = read(ListData, arguments, "data list")
    with progress_shown():
        emoji, texts = _emoji_row(), _text_rows(options.count)
    rows = [emoji, *texts]
    if options.json:
        sys.stdout.write(dumps([asdict(row) for row in rows], indent=1) + "\n")
        return 0
    for row in rows:
        print(f"{row.name}: {row.title}\n    {row.facts()}")
    if not emoji.here:
        print_note("`armillary data emoji` fetches the emoji images.")
    if any(row.fetched and not row.here for row in texts):
        print_note("Texts that are not fetched yet are fetched at their first use.")
    if any(not row.fetched and not row.here for row in texts):
        print_note("pip install 'armillary[data]' brings the texts that are not installed.")
    return 0


def run_emoji(arguments: Sequence[str]) -> int:
    """Fetch or find the images, verify them, and say where they are and who drew them."""
    options = read(FetchEmoji, arguments, "data emoji")
    from armillary.data.images.emoji import cached_emoji, fetch_emoji, load_emoji, verify_emoji

    with progress_shown():
        known = cached_emoji() is not None
        folder = fetch_emoji()
        if known:
            verify_emoji()
        emoji = load_emoji()
    images = len(emoji) * len(emoji.styles)
    if options.json:
        facts = {
            "name": "emoji",
            "folder": str(folder),
            "emoji": len(emoji),
            "styles": list(emoji.styles),
            "images": images,
            "sources": [source.to_dict() for source in emoji.source],
        }
        sys.stdout.write(dumps(facts) + "\n")
        return 0
    print(f"emoji: {images:,} images of {len(emoji):,} emoji in {len(emoji.styles)} styles are in {folder}")
    for source in emoji.source:
        print(f"  {source.name} ({source.licence}), {source.package} {source.version}, {source.url}")
    return 0


def _emoji_row() -> DataRow:
    from armillary.data.images.emoji import cached_emoji
    from armillary.data.images.packages import CACHE_MB, DOWNLOAD_MB, EMOJI_PIXELS, IMAGE_COUNT, LICENCE

    return DataRow(
        name="emoji",
        kind="images",
        title=f"emoji in four drawing styles, {EMOJI_PIXELS} pixels, with names, keywords and groups "
        f"({DOWNLOAD_MB} MB to download, {CACHE_MB} MB in the cache)",
        count=IMAGE_COUNT,
        licence=LICENCE,
        fetched=True,
        here=cached_emoji() is not None,
    )


def _text_rows(count: bool) -> list[DataRow]:
    from armillary.data import (
        capabilities,
        capability_counts,
        capability_source,
        corpora,
        corpus_source,
        corpus_texts,
    )
    from armillary.data.texts.capability import capability_cached

    rows: list[DataRow] = []
    with counted("count the texts" if count else "", len(capabilities()) + len(corpora())) as read_so_far:
        for name, title in (capabilities() | corpora()).items():
            is_corpus = name in corpora()
            cached = None if is_corpus else capability_cached(name)
            number, licence = None, None
            try:
                licence = (corpus_source if is_corpus else capability_source)(name).licence
                if count and cached is not False:
                    number = (
                        len(corpus_texts(name)) + len(corpus_texts(name, split="test"))
                        if is_corpus
                        else sum(capability_counts(name).values())
                    )
            except UsageError:  # its package is not installed
                pass
            rows.append(
                DataRow(
                    name=name,
                    kind="corpus" if is_corpus else "capability",
                    title=title,
                    count=number,
                    licence=licence,
                    fetched=cached is not None,
                    here=licence is not None if cached is None else cached,
                )
            )
            read_so_far.advance()
    return rows
