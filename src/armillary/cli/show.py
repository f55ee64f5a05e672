"""``armillary show METHOD``: paper, claim, commands, and the verdicts measured so far."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cards import CARDS, MethodCard
from armillary.cli.measured import measured, verdict_counts
from armillary.cli.options import read
from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Show one method: its paper, its claim in one sentence, its commands and the verdicts measured so far."""

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """Which method (`armillary list` tells them)."""

    results: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    """Folder with the records of `armillary reproduce`."""

    json: bool = False
    """Print the card and the verdicts as JSON on stdout."""


def find_card(name: str) -> MethodCard:
    """The card of the method ``name``. Raises UsageError with near names."""
    names = [card.name for card in CARDS]
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.4) or names
        raise UsageError(f"There is no method {name!r}; did you mean {', '.join(near)}?")
    return next(card for card in CARDS if card.name == name)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ShowOptions, arguments, "show")
    card = find_card(options.method)
    records = measured(card.name, options.results)
    if options.json:
        from armillary.runs.plain import dumps

        claims = {name: {claim.id: claim.verdict for claim in record.claims} for name, record in records.items()}
        sys.stdout.write(dumps({**card.to_dict(), "verdicts": claims}, indent=1) + "\n")
        return 0
    print(f"{card.name}: {card.title}\n\n{card.paper}\n{card.authors}, {card.link}\n\n{card.claim}\n\nCommands:")
    print("\n".join(f"  {command}" for command in card.commands))
    for name, record in records.items():
        print(f"\nMeasured on {name}: {verdict_counts(record)}.")
        print("\n".join(f"  {claim.verdict:9}  {claim.statement}" for claim in record.claims))
    if not records:
        print(f"\nNo records of `armillary reproduce {card.name}` in {options.results}.")
    return 0
