"""``armillary data list|emoji``: the picture and text data there are, and fetching the emoji pictures."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.console import print_note, progress_shown
from armillary.cli.options import read
from armillary.errors import UsageError
from armillary.progress import counted
from armillary.records.plain import dumps

if TYPE_CHECKING:
    from armillary.data import DataSource


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the picture and text data: what they are, size, licence, and whether they are on this machine."""

    count: bool = False
    """Count the texts too, which reads them all: some ten seconds."""

    json: bool = False
    """Print the list as JSON."""


@dataclass(frozen=True, kw_only=True)
class EmojiOptions:
    """Fetch the emoji pictures into the cache, each package checked by sha256; a second call finds and verifies them.

    Needs npm (it comes with Node.js) and the extra armillary[vision].
    """

    json: bool = False
    """Print name, folder and counts as JSON."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The data that methods and experiments use: pictures with names, and texts by capability and by corpus."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[ListOptions, tyro.conf.subcommand(name="list")]
            | Annotated[EmojiOptions, tyro.conf.subcommand(name="emoji")]
        ]
    ]


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """One line of the list."""

    name: str
    kind: str
    """ "pictures", "capability" or "corpus"."""

    title: str
    count: int | None
    """Pictures or texts; None where they weren't counted."""

    licence: str | None
    """None where the package that holds the data is not installed."""

    here: bool
    """Pictures: in the cache; texts: their package is installed."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(DataOptions, arguments, "data").action
    return listed(options) if isinstance(options, ListOptions) else fetched(options)


def listed(options: ListOptions) -> int:
    """Print a line for each set of data, or the list as JSON."""
    with progress_shown():
        rows = [_emoji_row(), *_text_rows(options.count)]
    if options.json:
        sys.stdout.write(dumps([asdict(row) for row in rows], indent=1) + "\n")
        return 0

    for row in rows:
        print(f"{row.name}: {row.title}\n    {_facts(row)}")
    if not rows[0].here:
        print_note("`armillary data emoji` fetches the emoji pictures.")
    if not all(row.here for row in rows[1:]):
        print_note("pip install 'armillary[data]' brings the texts that are not here.")
    return 0


def fetched(options: EmojiOptions) -> int:
    """Fetch or find the pictures, verify them, and say where they are and who drew them."""
    from armillary.data.images.emoji import cached_emoji, fetch_emoji, load_emoji, verify_emoji

    with progress_shown():
        known = cached_emoji() is not None
        folder = fetch_emoji()
        if known:
            verify_emoji()
        emoji = load_emoji()
    images = len(emoji) * len(emoji.styles)
    if options.json:
        told = {
            "name": "emoji",
            "folder": str(folder),
            "emoji": len(emoji),
            "styles": list(emoji.styles),
            "pictures": images,
            "sources": [source.to_dict() for source in emoji.source],
        }
        sys.stdout.write(dumps(told) + "\n")
        return 0
    print(f"emoji: {images:,} images of {len(emoji):,} emoji in {len(emoji.styles)} styles are in {folder}")
    for source in emoji.source:
        print(f"  {source.name} ({source.licence}), {source.package} {source.version}, {source.url}")
    return 0


def _facts(row: DataRow) -> str:
    """How many, under which licence, and whether they are here, in one line."""
    kind = "pictures" if row.kind == "pictures" else "texts"
    count = kind if row.count is None else f"{row.count:,} {kind}"
    there, missing = ("in the cache", "not fetched yet") if row.kind == "pictures" else ("installed", "not installed")
    return "; ".join([count, *([row.licence] if row.licence else []), there if row.here else missing])


def _emoji_row() -> DataRow:
    from armillary.data.images.emoji import cached_emoji
    from armillary.data.images.packages import CACHE_MB, DOWNLOAD_MB, EMOJI_PIXELS, IMAGE_COUNT, LICENCE

    return DataRow(
        name="emoji",
        kind="pictures",
        title=f"emoji in four drawing styles, {EMOJI_PIXELS} pixels, with names, keywords and groups "
        f"({DOWNLOAD_MB} MB to download, {CACHE_MB} MB in the cache)",
        count=IMAGE_COUNT,
        licence=LICENCE,
        here=cached_emoji() is not None,
    )


def _text_rows(count: bool) -> list[DataRow]:
    from armillary.data import capabilities, capability_counts, capability_source, corpora, corpus_source
    from armillary.data.texts.corpora import texts

    def pieces(name: str) -> int:
        return sum(capability_counts(name).values())

    def passages(name: str) -> int:
        return len(texts(name)) + len(texts(name, split="test"))

    rows: list[DataRow] = []
    with counted("count the texts" if count else "", len(capabilities()) + len(corpora())) as read_so_far:
        for kind, names, source, number in (
            ("capability", capabilities(), capability_source, pieces),
            ("corpus", corpora(), corpus_source, passages),
        ):
            for name, title in names.items():
                rows.append(_text_row(kind, name, title, source, number if count else None))
                read_so_far.advance()
    return rows


def _text_row(
    kind: str, name: str, title: str, source: "Callable[[str], DataSource]", number: Callable[[str], int] | None
) -> DataRow:
    try:
        licence, found = source(name).licence, number(name) if number is not None else None
    except UsageError:  # its package is not installed
        licence, found = None, None
    return DataRow(name=name, kind=kind, title=title, count=found, licence=licence, here=licence is not None)
