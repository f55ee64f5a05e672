"""What the calibration says of each instrument: the card without which no page shows it as tried."""

from collections.abc import Sequence

from armillary.diff.calibration import CalibrationCard
from armillary.numerics.intervals import binomial
from armillary.report.wording import number
from reproductions.diff_calibration.measures import of_null
from reproductions.diff_calibration.nulls import NullPage
from reproductions.diff_calibration.pages import Comparison, Page


def cards_of(pages: Sequence[Page], nulls: Sequence[NullPage]) -> list[CalibrationCard]:
    """A card for each instrument that compared anything on any page, in the order of the page."""
    names = dict.fromkeys(comparison.instrument for page in pages for comparison in page.comparisons)
    return [_card(name, pages, nulls) for name in names]


def _card(name: str, pages: Sequence[Page], nulls: Sequence[NullPage]) -> CalibrationCard:
    quiet = [[*page.alarms] for page in pages if page.unchanged and _has(name, [one.id for one in page.comparisons])]
    quiet += [one.alarms for one in of_null(pages, nulls, "rounding") if _has(name, one.ids)]
    exchanged = [one.alarms for one in of_null(pages, nulls, "exchanged") if _has(name, one.ids)]
    alarms = sum(_has(name, ids) for ids in quiet)
    changed = [page for page in pages if not page.unchanged]
    # Where nothing was changed nothing could be missed, and what was seen would be no hit.
    compared = [one for page in changed for one in page.comparisons if one.instrument == name]
    share = binomial(alarms, len(quiet)) if quiet else None
    return CalibrationCard(
        instrument=name,
        quiet_pages=len(quiet),
        quiet_alarms=alarms,
        quiet_low=share.low if share else None,
        quiet_high=share.high if share else None,
        exchanged_pages=len(exchanged),
        exchanged_alarms=sum(_has(name, ids) for ids in exchanged),
        changed_pages=len(changed),
        changed_seen=sum(_has(name, page.verdict) for page in changed),
        least_seen=_sizes([one for one in compared if one.in_verdict], largest=False),
        most_unseen=_sizes([one for one in compared if not one.in_verdict], largest=True),
        named=list(dict.fromkeys(page.plant.kind for page in changed if _has(name, page.verdict))),
    )


def _has(name: str, ids: Sequence[str]) -> bool:
    return any(id.partition("/")[0] == name for id in ids)


def _sizes(compared: Sequence[Comparison], *, largest: bool) -> str:
    """By unit the largest or the smallest: "0.12 bits per byte (German)"; empty where there is none."""
    by_unit: dict[str, list[Comparison]] = {}
    for one in compared:
        if one.change:
            by_unit.setdefault(one.unit, []).append(one)
    ends = [(max if largest else min)(of_unit, key=lambda one: abs(one.change)) for of_unit in by_unit.values()]
    return "; ".join(f"{number(abs(one.change))} {one.unit} ({one.id.partition('/')[2]})" for one in ends)
