"""``armillary list``: the methods, a line each."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from armillary.cards import CARDS
from armillary.cli.options import read


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the methods with their papers; `armillary show METHOD` tells more."""

    json: bool = False
    """Print the cards as JSON on stdout."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ListOptions, arguments, "list")
    if options.json:
        from armillary.runs.plain import dumps

        sys.stdout.write(dumps([card.to_dict() for card in CARDS], indent=1) + "\n")
        return 0
    for card in CARDS:
        print(f"{card.name:12} {card.title} ({card.authors}, arXiv {card.arxiv})")
    return 0
