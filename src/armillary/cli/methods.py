"""``armillary list`` and ``armillary show METHOD``: paper, claim, what was found, commands, verdicts so far."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, get_args

import tyro

from armillary.cards import CARDS, MethodCard
from armillary.cli.options import JsonOption, read
from armillary.errors import ArmillaryError, UsageError
from armillary.files import read_object
from armillary.records.claims import Verdict
from armillary.records.record import RunRecord

_OUTCOME = len("undecided: interval too wide")
"""Columns of the longest verdict."""


def measured(method: str, results: Path) -> dict[str, RunRecord]:
    """The records of ``method`` under ``results`` by model name, sorted; other files are passed over.

    Where its card says that other models are judged than the one a record names, by the card's words. Of two records
    of one name the one that began later counts.
    """
    evidence_models = {card.name: card.evidence_models for card in CARDS}
    evidence_models |= {name: models for card in CARDS for name, models in card.experiment_models}
    records: dict[str, RunRecord] = {}
    for path in sorted(results.rglob("*.json")) if results.is_dir() else []:
        try:
            data = read_object(path)
            # A whole record is checked field by field, which takes time: only those that are asked for.
            if data.get("kind") != "reproduce" or dict(data.get("config") or {}).get("method") != method:
                continue
            record = RunRecord.from_dict(data)
        except (ArmillaryError, TypeError, ValueError):
            continue
        model = evidence_models.get(method) or str(record.config.get("model", ""))
        if model not in records or records[model].started < record.started:
            records[model] = record
    return dict(sorted(records.items()))


def verdict_counts(record: RunRecord) -> str:
    """ "5 hold, 1 fails, 2 undecided"; "by earlier rules" where the claims have no controls, as in older records."""
    counts = {kind: sum(claim.verdict == kind for claim in record.claims) for kind in get_args(Verdict)}
    plural = {"holds": "hold", "fails": "fail"}
    words = [f"{count} {kind if count == 1 else plural.get(kind, kind)}" for kind, count in counts.items() if count]
    if record.claims and not any(claim.null for claim in record.claims):
        words.append("by earlier rules, without controls")
    return ", ".join(words) or "no claims"


@dataclass(frozen=True, kw_only=True)
class ShowMethod(JsonOption):
    """Show one method: its paper, its claim, what was found, its commands and the verdicts measured so far."""

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """Which method (`armillary list` shows them)."""

    results: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    """Folder with the records of `armillary reproduce`."""


def find_card(name: str) -> MethodCard:
    """The card of the method ``name``. Raises UsageError with near names."""
    names = [card.name for card in CARDS]
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.4) or names
        raise UsageError(f"There is no method {name!r}; did you mean {', '.join(near)}?")
    return next(card for card in CARDS if card.name == name)


def run_show(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ShowMethod, arguments, "show")
    card = find_card(options.method)
    records = measured(card.name, options.results)
    if options.json:
        from armillary.records.plain import dumps

        claims = {name: {claim.id: claim.outcome for claim in record.claims} for name, record in records.items()}
        sys.stdout.write(dumps({**card.to_dict(), "verdicts": claims}, indent=1) + "\n")
        return 0
    print(
        f"{card.name}: {card.title}\n\n{card.paper}\n{card.authors}, {card.link}\n\nThe paper's claim: {card.claim}\n"
    )
    print(f"What we found: {card.finding}\n\nCommands:")
    print("\n".join(f"  {command}" for command in card.commands))
    for name, record in records.items():
        print(f"\nMeasured on {name}: {verdict_counts(record)}.")
        print("\n".join(f"  {claim.outcome:{_OUTCOME}}  {claim.statement}" for claim in record.claims))
    if not records:
        print(f"\nNo records of `armillary reproduce {card.name}` in {options.results}.")
    return 0


@dataclass(frozen=True, kw_only=True)
class ListMethods(JsonOption):
    """List the methods with their papers; `armillary show METHOD` shows one."""


def run_list(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ListMethods, arguments, "list")
    if options.json:
        from armillary.records.plain import dumps

        sys.stdout.write(dumps([card.to_dict() for card in CARDS], indent=1) + "\n")
        return 0
    for card in CARDS:
        print(f"{card.name:12} {card.title} ({card.authors}, arXiv {card.arxiv})")
    return 0
