"""How often each instrument of a diff was right on known changes: a table that is measured once and packaged.

It is made from the record of ``reproduce diff_calibration`` (``python -m tools.diff_cards``). An instrument without a
row in it has not been tried, and every page says so.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from armillary.records.plain import decode
from armillary.records.sections import Cell, Table
from armillary.report.wording import number

NAME = "calibration.json"
NOT_TRIED = "not calibrated"


@dataclass(frozen=True, kw_only=True)
class CalibrationCard:
    """One instrument on pages of which it is known what changed."""

    instrument: str
    quiet_pages: int
    """Pages of two models that compute the same on which it compared anything."""

    quiet_alarms: int
    """Of these, with a line of its own."""

    quiet_low: float | None
    """Exact interval (95 %) of that share; None where there was no such page."""

    quiet_high: float | None
    exchanged_pages: int
    """Pages on which two models differ and their numbers were exchanged at random; 0 where its numbers can't be."""

    exchanged_alarms: int
    changed_pages: int
    """Pages of a known change."""

    changed_seen: int
    """Of these, with a line of its own."""

    least_seen: str
    """The smallest change that got a line, by unit; empty where none did."""

    most_unseen: str
    """The largest that did not."""

    named: list[str]
    """Kinds of change on whose pages it had a line."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All cards, and what they were measured on."""

    model: str
    pages: str
    """How large a page was: "budget 2m, 32 prompts, 24 texts"."""

    cards: list[CalibrationCard]


@cache
def calibration() -> Calibration | None:
    """The packaged cards; None where the library comes without any."""
    path = files("armillary.diff") / "packaged" / NAME
    if not path.is_file():
        return None
    return decode(Calibration, json.loads(path.read_text(encoding="utf-8")), NAME)


def card_table(known: Calibration | None, instruments: Sequence[str]) -> Table:
    """A row for each instrument of a page: what is known of it, or that nothing is."""
    cards = {card.instrument: card for card in known.cards} if known else {}
    measured = (
        f"Measured on {known.model} ({known.pages}); another model, other prompts or another budget may be easier or "
        "harder. Alarms: pages of models that compute the same on which it had a line, of those on which it had "
        "anything to compare; the interval is exact. Exchanged: the same where two models differ and their numbers "
        "were exchanged at random. "
        if known
        else ""
    )
    return Table(
        title="How often each instrument was right on known changes",
        columns=[
            "instrument",
            "alarms",
            "interval",
            "exchanged",
            "seen",
            "least seen",
            "most not seen",
            "with a line on",
        ],
        rows=[_row(name, cards.get(name)) for name in instruments],
        note=f"{measured}An instrument that is {NOT_TRIED} has no such rate: read its lines with care.",
    )


def _row(name: str, card: CalibrationCard | None) -> list[Cell]:
    if card is None:
        return [name, NOT_TRIED, *([None] * 6)]
    known = card.quiet_low is not None and card.quiet_high is not None
    return [
        name,
        f"{card.quiet_alarms} of {card.quiet_pages}" if card.quiet_pages else "nothing to compare",
        f"{number(100 * (card.quiet_low or 0))} to {number(100 * (card.quiet_high or 0))} %" if known else None,
        f"{card.exchanged_alarms} of {card.exchanged_pages}" if card.exchanged_pages else None,
        f"{card.changed_seen} of {card.changed_pages}",
        card.least_seen or None,
        card.most_unseen or None,
        ", ".join(card.named) or None,
    ]
