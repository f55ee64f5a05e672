"""A page tells of each instrument how it did on known changes, or that it is not tried; cards are a record's."""

from pathlib import Path

import pytest
from tools.diff_cards import PACKAGED, cards, packaged

from armillary.diff.calibration import NOT_TRIED, Calibration, CalibrationCard, calibration, card_table
from armillary.diff.effect import Described
from armillary.diff.page import HOW_SURE, Circumstances, page
from armillary.errors import UsageError
from armillary.records.record import RunRecord
from armillary.records.sections import Section
from reproductions.diff_calibration.report import card_rows
from reproductions.diff_calibration.scale import SCALES

ROOT = Path(__file__).parents[3]
CARD = CalibrationCard(
    instrument="kept", quiet_pages=73, quiet_alarms=1, quiet_low=0.0003, quiet_high=0.074, exchanged_pages=190,
    exchanged_alarms=2, changed_pages=19, changed_seen=12, least_seen="0.0530 share (German)", most_unseen="",
    named=["noise", "german"],
)  # fmt: skip
KNOWN = Calibration(model="small", pages="budget 2m", cards=[CARD])


def record_of(*sections: Section) -> RunRecord:
    return RunRecord(
        kind="reproduce", title="t", config={}, models={"model": {"name": "small"}}, seed=0, sections=[*sections],
        versions={}, machine={}, started="", seconds=1,
    )  # fmt: skip


def test_an_instrument_is_told_with_its_card_or_as_not_tried() -> None:
    table = card_table(KNOWN, ["kept", "new"])
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert first["alarms"] == "1 of 73" and first["interval"] == "0.030 to 7.40 %"
    assert (
        first["exchanged"] == "2 of 190" and first["seen"] == "12 of 19" and first["with a line on"] == "noise, german"
    )
    assert first["most not seen"] is None
    assert second["alarms"] == NOT_TRIED and second["seen"] is None
    assert "small" in table.note and "budget 2m" in table.note
    assert [row[1] for row in card_table(None, ["kept"]).rows] == [NOT_TRIED]


def test_every_page_has_a_row_for_each_of_its_instruments() -> None:
    described = Described(section=Section(id="kept", title="", summary="", meaning="", caution=""))
    outcome = page("t", [described], Circumstances(budget="2m", instruments=["kept", "new"]))
    section = next(section for section in outcome.sections if section.id == HOW_SURE)
    assert [row[0] for row in section.tables[1].rows] == ["kept", "new"]


def test_cards_come_out_of_a_record_as_they_went_in() -> None:
    section = Section(
        id="cards", title="", summary="", meaning="", caution="", tables=[card_rows([CARD], SCALES["laptop"])]
    )
    made = cards(record_of(section))
    assert made.cards == [CARD] and made.model == "small" and made.pages.startswith("budget 2m, ")
    with pytest.raises(UsageError, match="no cards"):
        cards(record_of())


def test_the_packaged_cards_are_those_of_the_committed_record() -> None:
    text, path = packaged(ROOT), ROOT / PACKAGED
    assert path.exists() == (text is not None) == (calibration() is not None)
    assert text is None or path.read_text("utf-8") == text, "python -m tools.diff_cards"
