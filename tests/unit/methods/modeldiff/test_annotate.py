"""Sheets go out and come back by id; precision and good inputs agree with sums done by hand."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.errors import StorageError, UsageError
from armillary.methods.modeldiff.core import Direction
from armillary.methods.modeldiff.ratings import RatedDirection, agreement_with_people
from armillary.methods.modeldiff.sheets import SheetRow, export_sheet, rate, rating_column, read_ratings
from armillary.records.plain import plain

NAN = math.nan


def rows(*texts: str) -> list[SheetRow]:
    return [SheetRow(id=f"a-{number}", direction="a", text=text) for number, text in enumerate(texts)]


def cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_a_sheet_goes_out_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.csv"
    texts = ["plain", 'with, comma and "quotes"', "two\nlines", "Überraschung 猫", "end\r\nof line", *"fghij"]
    order = export_sheet(rows(*texts), path, seed=3)
    assert sorted(order) == sorted(f"a-{number}" for number in range(10)) and order != tuple(sorted(order))
    assert export_sheet(rows(*texts), path, seed=3) == order != export_sheet(rows(*texts), path, seed=4)
    export_sheet(rows(*texts), path, seed=3)
    head, *body = cells(path)
    assert head == ["id", "direction", "text", "rating"]
    assert [(line[0], line[2], line[3]) for line in body] == [(id, texts[int(id[2:])], "") for id in order]
    assert read_ratings(path, order) == {}
    filled = [[*line[:3], {"a-0": "1", "a-4": " 0.25 "}.get(line[0], "")] for line in body]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *filled])
    assert read_ratings(path, order) == {"a-0": 1.0, "a-4": 0.25}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_reaches_a_spreadsheet_as_a_formula(start: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    export_sheet(rows(f"{start}1+1", "a=b"), path)
    found = {line[0]: line[2] for line in cells(path)[1:]}
    assert found == {"a-0": f"'{start}1+1", "a-1": "a=b"}


def test_what_a_spreadsheet_makes_of_a_sheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes('\ufeffID;Rating;text\r\na-1;0,5;"x;y"\r\n;;\r\na-2;;z\r\n'.encode())
    assert read_ratings(path) == {"a-1": 0.5}
    path.write_bytes("rating\tid\ttext\n1\ta-1\tna\xefve\n".encode("latin-1"))
    assert read_ratings(path) == {"a-1": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,text\na-1,x\n", "line 1: no column 'rating'"),
        ("", "line 1: no column 'id'"),
        ('id,text,rating\na-1,"two\nlines",1\na-2,x,1.5\n', r"line 4: a rating is a number from 0 .* got '1.5'"),
        ("id,rating\na-1,good\n", "line 2: a rating is a number"),
        ("id,rating\na-1,nan\n", "line 2: a rating is a number"),
        ("id,rating\na-1,\na-1,1\n", "line 3: the id 'a-1' comes twice"),
        ("id,rating\na-3,1\n", "line 2: the id 'a-3' is not one of the 2"),
    ],
)
def test_wrong_sheets_are_told_by_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(text.encode())
    with pytest.raises(UsageError, match=told):
        read_ratings(path, ["a-1", "a-2"])


def test_wrong_rows_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        export_sheet([*rows("x"), *rows("y")], tmp_path / "sheet.csv")
    with pytest.raises(UsageError, match="must be a letter"):
        export_sheet([SheetRow("=1+1", "a", "x")], tmp_path / "sheet.csv")
    with pytest.raises(UsageError, match="nothing to rate"):
        export_sheet([], tmp_path / "sheet.csv")
    with pytest.raises(StorageError, match="could not be read"):
        read_ratings(tmp_path / "none.csv")


def test_a_function_can_stand_in_for_people() -> None:
    found = rate({"a-1": "ab", "a-2": ""}, lambda text: len(text) / 2)
    assert found == {"a-1": 1.0, "a-2": 0.0}
    np.testing.assert_array_equal(rating_column(["a-2", "a-3", "a-1"], found), [0, NAN, 1])
    assert rate({"a-1": "x"}, lambda text: 1) == {"a-1": 1.0}
    with pytest.raises(UsageError, match=r"rater on 'a-1': .* got 2"):
        rate({"a-1": "x"}, lambda text: 2)


def direction(side: Any, differences: Any, weights: Any, ratings: Any, **more: Any) -> RatedDirection:
    with np.errstate(divide="ignore"):
        log_weight_N = np.log(np.array(weights, np.float64))
    numbers = {"difference_N": np.array(differences, np.float64), "rating_N": np.array(ratings, np.float64)}
    return RatedDirection(side=side, log_weight_N=log_weight_N, **numbers, **more)


OVERLAP = np.array([False, False, True, False, True])
A = direction("a", [-5, -4, -1, -6, -7], [2, 1, 5, 1, 0], [1, 0, 1, NAN, 1], overlap_N=OVERLAP)
B = direction("b", [3, -9, np.inf], [1, 4, 3], [0.5, 1, 0.25], overlap_N=np.array([True, True, False]))


def test_precision_and_good_inputs_by_hand() -> None:
    (found,) = agreement_with_people(A, B, [3.0])
    # Beyond 3 nats A has weights 2 (rated 1), 1 (rated 0) and 1 (not rated); the weight 0 lies outside the window.
    assert found.a.precision is not None and found.a.good is not None
    assert found.a.precision.estimate == pytest.approx(2 / 3)
    assert found.a.good.estimate == pytest.approx(2 / 3 * 4 / 5)
    assert (found.a.beyond, found.a.rated, found.a.covered) == (3, 2, 1.0)
    assert found.a.effective == pytest.approx(9 / 5)
    assert found.b.precision is not None and found.b.good is not None
    assert found.b.precision.estimate == pytest.approx((0.5 + 0.75) / 4)
    assert found.b.good.estimate == pytest.approx(1.25 / 5)
    assert found.verdict == "undecided" and "overlap" in found.reason


def test_a_bin_without_a_rating_is_left_out_and_said() -> None:
    (found,) = agreement_with_people(A, B, [3.0], bin_width=1.0)
    assert found.a.precision is not None and found.a.good is not None
    assert found.a.precision.estimate == pytest.approx(2 / 3)
    assert found.a.good.estimate == pytest.approx(2 / 5)
    assert found.a.covered == pytest.approx(3 / 4)


def test_the_rated_of_a_bin_speak_for_the_whole_bin() -> None:
    a = direction("a", [-3.2, -3.9, -4.5], [2, 2, 1], [1, NAN, 0])
    plain, binned = (agreement_with_people(a, B, [3.0], bin_width=width)[0] for width in (None, 1.0))
    assert plain.a.precision is not None and binned.a.precision is not None
    assert plain.a.precision.estimate == pytest.approx(2 / 3)
    assert binned.a.precision.estimate == pytest.approx(4 / 5)
    assert binned.a.good is None, "without an overlap there is nothing to count in"


def test_weights_of_any_size_and_a_known_overlap() -> None:
    heavy = replace(A, log_weight_N=A.log_weight_N + 900)
    known = replace(A, overlap_N=None, log_overlap=math.log(5))
    first, second, third = (agreement_with_people(one, B, [0.0, 3.0])[1].a for one in (A, heavy, known))
    assert second.precision is not None and first.precision is not None and first.good is not None
    assert second.precision.estimate == pytest.approx(first.precision.estimate)
    assert second.good is not None and second.good.estimate == pytest.approx(first.good.estimate)
    assert third.good is not None and third.good.estimate == pytest.approx(first.good.estimate)


def test_nothing_beyond_the_threshold_is_said() -> None:
    (far,) = agreement_with_people(A, B, [50.0])
    assert far.a.precision is None and far.a.good is None and far.verdict == "undecided"
    assert far.reason == "of the inputs of A that it prefers by 50 nats or more, no sample lies there"
    (unrated,) = agreement_with_people(A, B, [5.5])
    assert "none of 1 samples is rated" in unrated.reason and unrated.a.beyond == 1
    assert plain(unrated)["a"]["precision"] is None
    outside = replace(A, log_weight_N=np.full(5, -np.inf))
    assert agreement_with_people(outside, B, [0.0])[0].a.beyond == 0


def raters(side: Any, good: float, n: int, seed: int) -> RatedDirection:
    generator = np.random.default_rng(seed)
    differences = np.where(generator.random(n) < 0.5, 4.0, 0.0) * (-1 if side == "a" else 1)
    overlap_N = differences == 0
    return direction(side, differences, np.ones(n), (generator.random(n) < good) * 1.0, overlap_N=overlap_N)


@pytest.mark.parametrize(
    ("good_a", "good_b", "n", "verdict"),
    [
        (0.9, 0.5, 400, "A agrees better"),
        (0.5, 0.9, 400, "B agrees better"),
        (0.7, 0.7, 400, "undecided"),
        (0.9, 0.5, 4, "undecided"),
    ],
)
def test_the_verdict(good_a: float, good_b: float, n: int, verdict: str) -> None:
    (found,) = agreement_with_people(raters("a", good_a, n, 1), raters("b", good_b, n, 2), [2.0])
    assert found.verdict == verdict


def test_the_interval_is_as_wide_as_theory_says_and_covers() -> None:
    n, good, covered = 400, 0.7, 0
    for seed in range(60):
        (found,) = agreement_with_people(raters("a", good, n, seed), B, [2.0], replicates=400, seed=seed)
        interval, count = found.a.precision, found.a.good
        assert interval is not None and interval.low is not None and interval.high is not None and count is not None
        covered += not interval.excludes(good)
        expected = 2 * 1.96 * math.sqrt(good * (1 - good) / interval.n)
        assert interval.high - interval.low == pytest.approx(expected, rel=0.25)
    assert 52 <= covered <= 60


def test_a_replicate_that_lacks_ratings_widens_the_interval() -> None:
    lone = direction("a", [-4, -4, 0, 0, 0, 0], np.ones(6), [1, NAN, 0, 0, 0, 0], overlap_N=np.ones(6, bool))
    (found,) = agreement_with_people(lone, B, [2.0])
    assert found.a.precision is not None
    assert (found.a.precision.low, found.a.precision.estimate, found.a.precision.high) == (0.0, 1.0, 1.0)


def test_the_samples_of_a_comparison_with_ratings() -> None:
    held = Direction(
        side="b",
        window=(1.0, 10.0),
        other_window=(1.0, 7.0),
        ids_NL=np.zeros((4, 2), np.int64),
        own_N=np.array([2.0, 3.0, 11.0, 4.0]),
        other_N=np.array([8.0, 6.0, 20.0, 9.0]),
        log_weight_N=np.log([1.0, 2.0, 50.0, 3.0]),
        unit_N=np.arange(4),
        stratum_N=np.zeros(4, np.int64),
    )
    b = RatedDirection.of(held, np.array([1, 0, 1, 0.5]))
    (found,) = agreement_with_people(A, b, [3.0])
    assert found.b.beyond == 3 and found.b.precision is not None and found.b.good is not None
    assert found.b.precision.estimate == pytest.approx((1 + 0 + 1.5) / 6)
    assert found.b.good.estimate == pytest.approx(2.5 / 2)


def test_settings_out_of_range() -> None:
    with pytest.raises(UsageError, match="threshold is a number of nats"):
        agreement_with_people(A, B, [-1.0])
    with pytest.raises(UsageError, match="samples of A come first"):
        agreement_with_people(B, A, [1.0])
    with pytest.raises(UsageError, match="replicates must be 2"):
        agreement_with_people(A, B, [1.0], replicates=1)
    with pytest.raises(UsageError, match="rating_N has 2 values for 3 samples"):
        replace(B, rating_N=np.zeros(2))
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(B, rating_N=np.array([0.0, 1.5, NAN]))
    with pytest.raises(UsageError, match="must not be NaN"):
        replace(B, difference_N=np.array([0.0, NAN, 1.0]))
