"""How a comparison is told: only what rests on enough samples, and with the numbers of the comparison itself."""

import json
import math
import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.modeldiff.comparison import compare
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import effective_size
from armillary.methods.modeldiff.curves import CountTable
from armillary.methods.modeldiff.figures import (
    MOST_CELLS,
    RANGES,
    Naming,
    amount,
    conditional,
    decimal,
    examples,
    multiple,
)
from armillary.methods.modeldiff.report import findings, measures, people_section, sections
from armillary.methods.modeldiff.result import Comparison, enough, profile_reliability, reliability_by, shortage
from armillary.methods.modeldiff.sheets import rated_direction, rating_column, sheet_rows
from armillary.models import tiny
from armillary.numerics.intervals import Interval
from armillary.records.plain import decode, dumps
from armillary.records.record import RunRecord
from armillary.records.sections import Figure, Heatmap, Section, Tokens
from armillary.report.figure_data import drawable
from armillary.report.html import render_html
from reproductions.modeldiff.known_models import TableModel

LENGTH = 7
A = TableModel.random(5, LENGTH, seed=0, spread=1.0)
B = A.perturbed(0.5, seed=1)


@cache
def compared(n: int = 3000, **settings: Any) -> Comparison:
    """Two tables with known answers, compared on ``n`` samples each."""
    config = CompareConfig(samples=n, replicates=200, **settings)
    return compare(A, B, InputSpace(length=LENGTH), config)


@cache
def tiny_pair() -> Comparison:
    config = CompareConfig(samples=200, replicates=100, weighting="profile")
    return compare(tiny("llama"), tiny("qwen3"), InputSpace(length=6), config)


def kinds(told_sections: list[Section]) -> list[str]:
    return [figure.title for section in told_sections for figure in section.figures if figure.kind == "lines"]


def test_enough_samples_are_told_by_count_and_by_profile() -> None:
    comparison = compared()
    assert shortage(comparison) is None and enough(comparison, "count") and enough(comparison, "profile")
    made = sections(comparison)
    assert [one.id for one in made] == ["differences", "plausibility", "texts", "samples"]
    assert ["by count" in title for title in kinds(made)] == [True, False]
    found = measures(comparison)
    assert found["count/plausible to both, share of A's inputs"] == comparison.overlap_share["a"]
    nll_N, (low, high) = A.enumerate()[1], comparison.a.window
    exact = np.log10(((nll_N >= low) & (nll_N <= high)).sum())
    counted = found["count/log10 of A's inputs"]
    assert counted.lower - 0.01 <= exact <= counted.upper + 0.01


def test_the_chosen_weighting_comes_first() -> None:
    comparison = compared(weighting="profile")
    assert ["by count" in title for title in kinds(sections(comparison))] == [False, True]
    assert "Flat over the NLL window" in findings(comparison)[0].text
    assert findings(comparison)[0].text in sections(comparison)[0].summary


def test_too_few_samples_are_said_and_no_count_is_drawn() -> None:
    comparison = compared(120)
    headline = findings(comparison)[0].text
    said = re.fullmatch(r"not enough samples: ([\d,]+) would do", headline)
    assert said is not None, headline
    wanted = [one.wanted for one in comparison.reliability.values() if not one.enough]
    assert int(said[1].replace(",", "")) == max(number for number in wanted if number is not None) > 120
    made = sections(comparison)
    assert made[0].summary.split("\n\n")[0] == headline and "would do" in made[0].summary.split("\n\n")[1]
    assert not any("by count" in title for title in kinds(made))
    assert "not enough samples" in made[0].tables[0].title and "too few samples" in made[0].tables[0].note
    assert not any(name.startswith("count/") and "effective" not in name for name in measures(comparison))


def test_a_profile_of_too_few_samples_is_not_drawn_either() -> None:
    comparison = compared(60)
    assert min(one.effective for one in reliability_by(comparison, "profile").values()) < 100
    assert kinds(sections(comparison)) == []


def test_a_heavy_tail_gets_no_number() -> None:
    comparison = compared(120)
    # Weights exp(3 E) of an exponential E have a Pareto tail of shape 3.
    heavy = replace(comparison.a, log_weight_N=3 * np.random.default_rng(0).standard_exponential(120))
    assert heavy.reliability.pareto_k > 0.7
    assert "more may not help" in str(shortage(replace(comparison, a=heavy)))


def profile_effective(table: CountTable) -> float:
    """The mean over NLL bins of ratios with each bin's own effective size."""
    rows_N = np.where(table.cell_N >= 0, table.cell_N // 2 // table.columns, -1)
    kept = [table.direction.log_weight_N[rows_N == row] for row in np.unique(rows_N[rows_N >= 0])]
    return len(kept) ** 2 / sum(1 / effective_size(log_weights) for log_weights in kept)


def test_the_profile_rests_on_what_the_table_says() -> None:
    for table in (*compared().tables, *compared(120).tables):
        found = profile_reliability(table)
        assert found.effective == pytest.approx(profile_effective(table), rel=1e-9)
        assert found.inside == table.direction.inside_N.sum() and 0 < found.largest < 1
        assert found.enough == (profile_effective(table) >= 100)


def test_multiples_are_counts_over_the_overlap() -> None:
    comparison = compared()
    for side, table in zip(("a", "b"), comparison.tables, strict=True):
        held = table.direction
        worse_N = held.inside_N & (held.other_N - held.own_N >= 1.5)
        weights_N = np.exp(held.log_weight_N)
        expected = weights_N[worse_N].sum() / weights_N[held.overlap_N].sum()
        found = multiple(table, 1.5, 0.95)
        assert found.estimate == pytest.approx(expected, rel=1e-9), side
        assert found.lower < expected < found.upper


@pytest.mark.parametrize("window", ["pilot", (2.0, 60.0)])
def test_rows_of_the_heat_map_are_shares(window: Any) -> None:
    comparison = compare(A, B, InputSpace(length=LENGTH, window=window), compared().config)
    for side in ("a", "b"):
        data = conditional(comparison, side, Naming()).data
        assert isinstance(data, Heatmap)
        assert 1 <= len(data.rows) <= MOST_CELLS and len(data.columns) <= MOST_CELLS
        known = [row for row in data.values if None not in row]
        assert known and all(sum(row) == pytest.approx(1.0, abs=1e-9) for row in known)
        counted = [int(re.search(r"n (\d+)\)", str(label))[1]) for label in data.rows]  # type: ignore[index]
        assert sum(counted) == (comparison.a if side == "a" else comparison.b).inside_N.sum()
        assert all((count == 0) == (None in row) for count, row in zip(counted, data.values, strict=True))


def test_examples_run_from_one_end_to_the_other_with_their_tokens() -> None:
    figure = examples(tiny_pair(), Naming())
    assert figure is not None and isinstance(figure.data, Tokens)
    rows = figure.data.rows
    totals = [sum(value for value in row.values if value is not None) for row in rows]
    assert totals == sorted(totals) and totals[0] < 0 < totals[-1]
    for row, total in zip(rows, totals, strict=True):
        shown = float(row.label.split()[1].replace("\N{MINUS SIGN}", "-"))
        assert shown == pytest.approx(total, abs=0.051) and len(row.tokens) == 6
    assert {name for name, *_ in RANGES} <= {row.note.split("; ")[-1].removesuffix(" of all D") for row in rows}


def test_models_without_text_and_token_scores_are_told_too() -> None:
    figure = examples(compared(), Naming())
    assert figure is not None and isinstance(figure.data, Tokens)
    assert all(set(row.values) == {None} for row in figure.data.rows)
    with pytest.raises(UsageError, match="have no text"):
        sheet_rows(compared())


def test_a_model_against_itself_has_no_difference() -> None:
    comparison = compare(A, A, InputSpace(length=LENGTH), compared().config)
    found = measures(comparison)
    for side in "AB":
        assert found[f"profile/spread of D, {side}'s inputs"].estimate == 0
        assert found[f"count/worse for {'B' if side == 'A' else 'A'} by 0.1 nats per token, share of {side}'s inputs"]
    assert len(findings(comparison)) == 2, "no input is preferred by either"
    assert kinds(sections(comparison))


def test_an_empty_window_is_told() -> None:
    comparison = compare(A, B, InputSpace(length=LENGTH, window=(0.0, 0.1)), compared().config)
    with pytest.raises(InsufficientSamplesError, match=r"None of 3,000 samples of model A .* 0.0 to 0.1 nats"):
        sections(comparison)


def test_windows_that_do_not_meet_leave_the_overlap_open() -> None:
    middle = float(np.median(compared().a.own_N))
    window = {"a": (0.0, middle), "b": (middle + 6, middle + 60)}
    comparison = compare(A, B, InputSpace(length=LENGTH, window=window), compared().config)
    table = next(one for one in sections(comparison)[0].tables if one.title.startswith("Agreement"))
    assert all(row[3] == "\N{EN DASH}" for row in table.rows)


def test_sections_are_plain_data_that_a_page_can_draw() -> None:
    for comparison in (compared(), compared(120), tiny_pair()):
        made = sections(comparison)
        for section in made:
            assert decode(Section, json.loads(dumps(section)), "The section") == section
            assert section.summary and section.meaning and section.caution
            for figure in section.figures:
                assert isinstance(figure, Figure) and drawable(figure)
        record = RunRecord(kind="modeldiff", title="t", config={}, models={}, seed=0, measures=measures(comparison),
                           findings=findings(comparison), sections=made, started="", seconds=1.0)  # fmt: skip
        page = render_html(record)
        assert all(section.title in page for section in made)
        assert {finding.section for finding in record.findings} <= {section.id for section in made}


def test_numbers_in_words() -> None:
    assert (
        amount(Interval(estimate=-0.5, low=-1.0, high=0.001), "+.2f")
        == "\N{MINUS SIGN}0.50 [\N{MINUS SIGN}1.00, 0.00]"
    )
    assert amount(Interval(estimate=math.nan)) == "\N{EN DASH}"
    assert amount(Interval(estimate=-math.inf, low=-math.inf, high=2.0), ".1f") == "none [none, 2.0]"
    assert amount(Interval(estimate=0.25, low=0.0, high=1.0), ".0%") == "25% [0%, 100%]"
    assert decimal(Interval(estimate=math.log(1000), low=math.log(10), high=None)).low == pytest.approx(1.0)


def test_sheets_and_ratings_find_their_samples() -> None:
    comparison = tiny_pair()
    rows = sheet_rows(comparison, each=20)
    assert [row.id for row in rows] == [row.id for row in sheet_rows(comparison, each=20)]
    assert len({row.id for row in rows}) == 40 and {row.direction for row in rows} == {"a", "b"}
    for row in rows:
        held = comparison.a if row.direction == "a" else comparison.b
        index = int(row.id[1:])
        assert held.inside_N[index] and row.text == str(held.text_N[index])
    # Taken in turn, so that the bins at both ends, which hold few samples, are on the sheet too.
    ends = [float(comparison.a.difference_N[comparison.a.inside_N].min())]
    assert any(comparison.a.difference_N[int(row.id[1:])] - ends[0] < 3.0 for row in rows if row.direction == "a")
    ratings = {row.id: float(row.direction == "a") for row in rows}
    held = comparison.a
    column = rated_direction(held, ratings).rating_N
    by_id = rating_column([f"a{index}" for index in range(len(held.own_N))], ratings)
    assert np.array_equal(column[~np.isnan(by_id)], by_id[~np.isnan(by_id)])


def test_a_sequence_drawn_twice_is_rated_twice() -> None:
    ids_NL = np.array([[1, 2], [3, 4], [1, 2]])
    held = replace(
        compared().a, ids_NL=ids_NL, text_N=np.array(["x", "y", "x"]), own_N=np.full(3, 12.0), window=(0.0, 20.0),
        other_N=np.full(3, 12.5), log_weight_N=np.zeros(3), unit_N=np.arange(3), stratum_N=np.zeros(3, dtype=np.int64),
    )  # fmt: skip
    assert rated_direction(held, {"a0": 0.25}).rating_N.tolist() == pytest.approx([0.25, math.nan, 0.25], nan_ok=True)


def test_the_model_whose_inputs_are_rated_good_agrees_better() -> None:
    comparison = tiny_pair()
    ratings = {row.id: float(row.direction == "b") for row in sheet_rows(comparison)}
    section, finding, found = people_section(comparison, ratings)
    assert "B agrees better" in section.summary and finding.section == section.id
    best = {name: value.estimate for name, value in found.items()}
    assert best["people/mean rating of what A prefers by 0.1 nats per token"] == 0.0
    assert best["people/mean rating of what B prefers by 0.1 nats per token"] == 1.0
    with pytest.raises(UsageError, match="holds no ratings"):
        people_section(comparison, {})
