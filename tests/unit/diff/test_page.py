"""The page: lines link down, what was not seen is told with its limit, every comparison stands in one table."""

from dataclasses import replace

import pytest

from armillary.diff.effect import Described, Effect, verdict
from armillary.diff.page import EFFECTS, HOW_SURE, Circumstances, detectable, findings, page
from armillary.diff.side_by_side import parted, words
from armillary.numerics.intervals import Interval
from armillary.records.plain import plain
from armillary.records.sections import Section


def effect(name: str, estimate: float, p: float, half: float | None = 0.1, section: str = "kept") -> Effect:
    ends = {} if half is None else {"low": estimate - half, "high": estimate + half}
    value = Interval(estimate=estimate, n=40, **ends)
    sentence = f"It changed {name}."
    return Effect(id=f"{section}/{name}", kind="forgot", sentence=sentence, value=value, unit="bits per byte", p=p,
                  floor=0.02, section=section)  # fmt: skip


def described(*effects: Effect) -> Described:
    section = Section(id=effects[0].section, title="T", summary="s", meaning="m", caution="c")
    return Described(section=section, effects=[*effects], measures={e.id: e.value for e in effects})


LOST, SAME, WIDE = effect("German", 0.5, 1e-6), effect("code", 0.01, 0.7), effect("sums", 0.3, 0.2, section="flips")


def test_the_page_is_in_order_and_its_lines_lead_to_sections() -> None:
    outcome = page("t", [described(LOST, SAME), described(WIDE)], Circumstances(budget="2m"))
    assert [section.id for section in outcome.sections] == ["kept", "flips", HOW_SURE]
    assert [finding.label for finding in outcome.findings] == ["forgot", "not seen"]
    assert {finding.section for finding in outcome.findings} <= {section.id for section in outcome.sections}
    line = outcome.findings[0]
    assert line.text == "It changed German."
    assert line.basis == "+0.500 [0.400, 0.600] bits per byte, corrected p below 0.001, noise floor 0.020"
    assert list(outcome.measures) == ["kept/German", "kept/code", "flips/sums"]


def test_what_was_counted_has_no_chance_and_shares_are_told_in_points() -> None:
    counted = replace(LOST, value=Interval(estimate=3.0, low=3.0, high=3.0, n=21), unit="tensors")
    share = replace(WIDE, p=1e-9, unit="share of answers")
    effects = [counted, share]
    second, first, _ = findings(effects, verdict(effects))
    assert first.basis == "3.00 tensors, counted and not sampled"
    assert second.basis == "+30.0 [20.0, 40.0] points, corrected p below 0.001, noise floor 2.00"


def test_what_was_not_seen_is_told_with_the_size_that_would_have_shown() -> None:
    effects = [LOST, SAME, WIDE]
    last = findings(effects, verdict(effects))[-1]
    assert last.text == (
        "No change was seen in what else was compared (2), such as kept: code (would show from 0.185 bits per byte), "
        "flips: sums (would show from 0.185 bits per byte)."
    )
    assert findings([SAME], [])[0].text.startswith("No change was seen in anything that was compared (1), ")
    assert "sections below say why" in findings([], [])[0].text
    assert findings([LOST], verdict([LOST]))[-1].text == "Everything that was compared (1) is told above."


def test_there_are_eight_lines_at_most() -> None:
    many = [effect(f"n{index}", 0.5, 1e-9) for index in range(12)]
    outcome = page("t", [described(*many)], Circumstances(budget="2m"))
    assert len(outcome.findings) == 8 and outcome.findings[-1].label == "not seen"
    assert outcome.findings[-1].text.startswith("5 more changed (kept: n7, kept: n8, ")
    interests = [finding.interest for finding in outcome.findings]
    assert interests == sorted(interests, reverse=True) and len(set(interests)) == 8


def test_the_limit_of_detection_is_that_of_a_normal_estimate() -> None:
    # s = 0.1 / 1.95996, m = 1: 0.02 + (1.95996 + 0.84162) s
    assert detectable(SAME, 1) == pytest.approx(0.02 + 0.1 * (1 + 0.8416212 / 1.959964), rel=1e-6)
    first, second = detectable(SAME, 1), detectable(SAME, 50)
    assert first is not None and second is not None and second > first
    assert detectable(effect("x", 1.0, 0.5, half=None), 1) is None
    still = effect("still", 0.0, 1.0, half=0.0)
    assert detectable(still, 1) is None, "none of few things moved: that says nothing of how few would have shown"
    assert "still" not in findings([still, SAME], [])[0].text
    few = replace(effect("few", 0.0, 1.0, half=0.8), unit="share of answers")
    assert detectable(few, 1) is None, "no share changes by more than 1"


def test_what_rests_on_too_few_things_promises_no_limit() -> None:
    # Of 4 rows the least p is 2 / 2 ** 4: 0.125, whatever they show; of 6 it is 0.031, which one comparison may have.
    rows = {n: replace(SAME, id=f"restoring/{n}", value=replace(SAME.value, n=n), p=0.5**n * 2) for n in (4, 6, 12)}
    assert [detectable(rows[n], 1) is None for n in (4, 6, 12)] == [True, False, False]
    assert [detectable(rows[n], 10) is None for n in (4, 6, 12)] == [True, True, False]
    assert not verdict([replace(rows[6], value=replace(rows[6].value, estimate=99.0)), *[SAME] * 9])
    text = findings([*rows.values(), *[replace(SAME, id=f"kept/{n}") for n in range(7)]], [])[0].text
    assert "2 of these rest on too few" in text and "restoring: 4" not in text and "restoring: 12" in text


def test_every_comparison_stands_in_one_table_and_no_time_in_any() -> None:
    circumstances = Circumstances(budget="2m", left_out={"restoring": "would take 4 min"}, seconds={"base": 12.0},
                                  peak_gib=0.75, rendered=["<|im_start|>user"])  # fmt: skip
    section = page("t", [described(LOST, SAME)], circumstances).sections[-1]
    effects, left_out, rendered = section.tables
    assert effects.columns == EFFECTS and [len(row) for row in effects.rows] == [len(EFFECTS)] * 2
    assert [row[-1] for row in effects.rows] == [True, False]
    assert left_out.rows == [["restoring", "would take 4 min"]] and rendered.rows == [["<|im_start|>user"]]
    assert "base 12 s" in section.summary and "0.750 GiB" in section.summary
    assert "12.0" not in str(plain(section.tables))


def test_answers_part_at_the_first_token_that_differs() -> None:
    assert parted(["It", " is", " 4", "."], ["It", " is", " 5"]) == ("It is", (" 4", "."), (" 5", ""), 2)
    assert parted(["a"], ["a", "b", "c"]) == ("a", ("", ""), ("b", "c"), 1)
    assert parted(["a", "b"], ["a", "b"]) == ("ab", ("", ""), ("", ""), 2)
    assert parted([], []) == ("", ("", ""), ("", ""), 0)


@pytest.mark.parametrize("text", ["", "one", " two  words\nand more ", "\n\n", "東京 is"])
def test_words_are_the_text_again(text: str) -> None:
    assert "".join(words(text)) == text
