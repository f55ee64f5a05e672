"""What the pages say together is counted rightly: alarms only where nothing changed, names only where they fit."""

from dataclasses import replace

import pytest

from armillary.diff.page import EFFECTS, HOW_SURE
from armillary.records.claims import judge
from armillary.records.sections import Cell, Finding, Section, Table
from armillary.runs.run import Outcome
from reproductions.diff_calibration.cards import cards_of
from reproductions.diff_calibration.claims import CLAIMS, EXCHANGED, FALSE_ALARMS, NAMED
from reproductions.diff_calibration.measures import from_size, is_named, limits, measures
from reproductions.diff_calibration.nulls import Null, NullPage
from reproductions.diff_calibration.pages import Comparison, Page, read_comparisons, read_lines
from reproductions.diff_calibration.plants import SAVED, TUNES, Plant
from reproductions.diff_calibration.report import calibration_sections
from reproductions.diff_calibration.scale import SCALES

LOSSES = {"german": [3.0] * 10 + [2.0] * 10}


def page(kind: str, seen: str = "", size: float = 1.0, change: float = 1.0) -> Page:
    unit = "of the tune" if kind in TUNES else ""
    ids = (
        "kept/German",
        "kept/arithmetic",
        "kept/tickets",
        "attributes/refusals",
        "attributes/length",
        "weights/moved",
    )
    comparisons = [
        Comparison(
            id=id,
            change=change if id == seen else 0.1,
            p=0.01 if id == seen else 1.0,
            floor=0.2,
            in_verdict=id == seen,
            unit="bits per byte",
            limit=0.5,
        )
        for id in ids
    ]
    return Page(plant=Plant(kind=kind, size=size, unit=unit), comparisons=comparisons, lines=[], seconds=60.0)


def null(kind: Null, alarm: str = "") -> NullPage:
    alarms = [alarm] if alarm else []
    ids = ["kept/German", "flips/German"]
    return NullPage(null=kind, of="", seed=0, ids=ids, alarms=alarms, least=0.5, bare=[0.01, 0.5], bare_alarms=alarms)


def test_a_page_names_what_was_planted_and_no_other_thing() -> None:
    assert is_named(page("german", "kept/German")) and is_named(page("noise", "kept/arithmetic"))
    assert not is_named(page("german", "kept/arithmetic")) and not is_named(page("noise"))
    assert not is_named(page("noise", "weights/moved"))


def test_of_the_same_function_in_other_files_only_a_line_about_behaviour_is_false() -> None:
    assert page("identity", "weights/moved").alarms == ["weights/moved"]
    assert page("neurons permuted", "weights/moved").alarms == [] == page("noise", "kept/German").alarms
    assert page("neurons permuted", "kept/German").alarms == ["kept/German"]


def test_a_limit_is_the_least_change_seen_and_the_largest_that_was_not() -> None:
    pages = [
        page("german", "kept/German", change=-0.5),
        page("german", "kept/German"),
        page("identity", "kept/German"),
    ]
    (german, *others) = limits(pages)
    assert (german.least_seen, german.most_unseen, german.seen, german.alarms) == (0.5, None, 3, 1)
    assert all(other.seen == 0 and other.most_unseen == 0.1 for other in others)


def test_a_kind_is_named_from_the_size_above_which_none_is_missed() -> None:
    sizes = {0.25: "kept/German", 0.5: "", 1.0: "kept/German"}
    assert from_size([page("german", seen, size) for size, seen in sizes.items()], "german") == 1.0
    assert from_size([page("german", "", 1.0)], "german") is None
    assert from_size([page("rounded", "", 8), page("rounded", "kept/German", 4)], "rounded") == 4


@pytest.mark.parametrize(("alarms", "verdict"), [(0, "holds"), (1, "undecided"), (20, "fails")])
def test_claims_are_judged_by_pages_without_a_change(alarms: int, verdict: str) -> None:
    lines = dict(zip(TUNES, ("kept/tickets", "kept/German", "kept/arithmetic", "attributes/refusals",
                            "attributes/length"), strict=True))  # fmt: skip
    rounding = [null("rounding", "kept/German" if number < alarms else "") for number in range(71)]
    german = page("german", "kept/German")
    german.exchanged.extend(null("exchanged") for _ in range(72))
    others = [page(kind, id) for kind, id in lines.items() if kind != "german"]
    pages = [page("identity"), page("noise", "kept/German"), german, *others]
    measured = measures(pages, rounding, LOSSES)
    assert measured[FALSE_ALARMS].estimate == alarms / 72 and measured[NAMED].estimate == 1
    results = {result.id: result.verdict for result in judge(CLAIMS, measured)}
    assert results["quiet"] == verdict and results["named"] == results["exchanged"] == "holds"
    assert measured[EXCHANGED].n == 72
    sections = calibration_sections(pages, rounding, SCALES["laptop"])
    assert len(sections[0].tables[0].rows) == len(pages)
    (card, *_) = cards_of(pages, rounding)
    assert (card.instrument, card.quiet_alarms, card.quiet_pages) == ("kept", alarms, 72)
    assert (card.exchanged_pages, card.changed_seen, card.changed_pages) == (72, 4, 6)
    assert card.least_seen == "1.00 bits per byte (German)" and card.named[0] == "noise"


def test_saved_in_another_dtype_is_a_change_only_where_a_number_differs() -> None:
    saved = page(SAVED, "kept/German")
    assert not saved.unchanged and not saved.alarms
    same = replace(saved, tensors_changed=0)
    assert same.unchanged and same.alarms == ["kept/German"]


def test_a_page_is_read_from_its_record() -> None:
    rows: list[list[Cell]] = [
        ["kept/German", 0.4, 0.3, 0.5, "bits per byte", 0.001, 0.1, 0.2, True],
        ["drift/texts", 0.01, None, None, "nats", 1.0, 0.1, None, False],
    ]
    table = Table(title="", columns=EFFECTS, rows=rows)
    section = Section(id=HOW_SURE, title="", summary="", meaning="", caution="", tables=[table])
    findings = [
        Finding(text="It lost German.", interest=1, section="kept"),
        Finding(text="Nothing else.", interest=0, section=HOW_SURE, label="not seen"),
    ]
    outcome = Outcome(title="", findings=findings, sections=[section])
    read = read_comparisons(outcome)
    assert [one.in_verdict for one in read] == [True, False] and [one.floor for one in read] == [0.1, 0.1]
    assert [one.limit for one in read] == [0.2, None] and [one.unit for one in read] == ["bits per byte", "nats"]
    assert read_lines(outcome) == ["It lost German."]
