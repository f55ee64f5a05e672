"""Counts over responses: sums add up whatever the pieces, and the numbers told are those of a plain computation."""

import numpy as np
import pytest

from armillary.methods.ultragen.corpus.check_page import GROUPS, check_page
from armillary.methods.ultragen.corpus.tally import (
    CheckedAttribute,
    CheckedResponse,
    Tally,
    fifth_of,
    mean_rate,
    pooled_rate,
)
from armillary.numerics.intervals import bootstrap_mean
from armillary.records.plain import decode, plain
from armillary.records.sections import Heatmap, Lines, MarkedTexts

KINDS = ("word_count", "keyword_include", "keyword_exclude", "soft/tone")


def response(number: int, generator: np.random.Generator, attributes: int) -> CheckedResponse:
    verdicts = []
    for rank in range(attributes):
        kind = KINDS[int(generator.integers(4))]
        met = None if kind == "soft/tone" and generator.random() < 0.2 else bool(generator.random() < 0.6)
        verdicts.append(
            CheckedAttribute(kind=kind, text=f"{kind} {rank}", hard=kind != "soft/tone",
                             negative=kind == "keyword_exclude", rank=rank, met=met, measured=f"seen {rank}",
                             spans=[(0, 4)] if rank == 0 else [])
        )  # fmt: skip
    return CheckedResponse(where=f"line {number}", prompt="p", response="some words", verdicts=verdicts, unparsed=0)


def responses(n: int, seed: int = 0) -> list[CheckedResponse]:
    generator = np.random.default_rng(seed)
    return [response(number, generator, int(generator.integers(1, 30))) for number in range(n)]


def counted(rows: list[CheckedResponse], keep: int = 5) -> Tally:
    tally = Tally()
    for row in rows:
        tally.add(row, keep)
    return tally


def test_pieces_add_up_to_the_whole() -> None:
    rows = responses(120)
    whole = counted(rows)
    for cuts in ([40, 80], [1, 2, 119], []):
        total = Tally()
        for start, stop in zip([0, *cuts], [*cuts, 120], strict=True):
            piece = decode(Tally, plain(counted(rows[start:stop])), "a piece")  # as it comes back from the disk
            total.merge(piece, 5)
        assert plain(total) == plain(whole)


def test_shares_are_those_of_the_responses() -> None:
    rows = responses(300)
    tally = counted(rows)
    judged = [[verdict for verdict in row.verdicts if verdict.met is not None] for row in rows]
    shares = [np.mean([verdict.met for verdict in own]) for own in judged if own]
    csr = mean_rate(tally.all, 0)
    direct = bootstrap_mean(shares, seed=0)
    assert csr is not None and csr.estimate == pytest.approx(np.mean(shares)) and csr.n == len(shares)
    assert csr.lower == pytest.approx(direct.lower, abs=0.005)
    assert csr.upper == pytest.approx(direct.upper, abs=0.005)
    flat = [(verdict, len(row.verdicts)) for row, own in zip(rows, judged, strict=True) for verdict in own]
    for kind in KINDS:
        met = [verdict.met for verdict, _ in flat if verdict.kind == kind]
        rate = pooled_rate(tally.by_kind[kind], 0)
        assert rate is not None and rate.estimate == pytest.approx(np.mean(met))
        for fifth in (0, 4):
            cell = [verdict.met for verdict, n in flat if verdict.kind == kind and fifth_of(verdict.rank, n) == fifth]
            assert tally.cells[f"{kind}/{fifth}"] == [sum(map(bool, cell)), len(cell)]
    assert tally.all_met == sum(all(verdict.met for verdict in row.verdicts) for row in rows)
    assert tally.unjudged == sum(verdict.met is None for row in rows for verdict in row.verdicts)
    assert sum(map(sum, tally.cells.values())) == sum(bool(v.met) for v, _ in flat) + len(flat)


def test_the_worst_are_kept_the_earlier_first() -> None:
    rows = responses(200)
    order = sorted(
        (row for row in rows if any(v.met is False for v in row.verdicts)),
        key=lambda row: np.mean([v.met for v in row.verdicts if v.met is not None]),
    )
    assert [worst.where for worst in counted(rows).worst] == [row.where for row in order[:5]]
    assert counted(rows, keep=0).worst == []


@pytest.mark.parametrize(
    ("rank", "n", "fifth"), [(0, 1, 0), (0, 45, 0), (44, 45, 4), (22, 45, 2), (1, 2, 4), (0, 2, 0)]
)
def test_fifths_of_a_list(rank: int, n: int, fifth: int) -> None:
    assert fifth_of(rank, n) == fifth


def test_of_responses_that_are_all_alike_the_interval_is_exact() -> None:
    rate = pooled_rate({"0/3": 50}, 0)
    assert rate is not None and rate.estimate == 0 and rate.upper == pytest.approx(1 - 0.025 ** (1 / 50))
    assert pooled_rate({}, 0) is None and mean_rate({}, 0) is None
    same = mean_rate({"2/2": 10}, 0)
    assert same is not None and same.lower < 1


def test_the_page_tells_what_was_counted() -> None:
    tally = counted([*responses(400), *responses(1, 5)])
    page = check_page(tally, "a.jsonl", 0)
    assert page.title == "401 responses of a.jsonl, checked"
    sections = {section.id: section for section in page.sections}
    assert [*sections] == ["kinds", "positions", "numbers", "worst"]
    cells = sections["positions"].figures[0].data
    assert isinstance(cells, Heatmap) and len(cells.rows) == 4 and len(cells.columns) == 5
    curve = sections["numbers"].figures[0].data
    assert isinstance(curve, Lines) and 2 <= len(curve.x) <= GROUPS
    assert sum(row[1] for row in sections["numbers"].tables[0].rows) == sum(tally.all.values())  # type: ignore[misc]
    texts = sections["worst"].figures[0].data
    assert isinstance(texts, MarkedTexts) and len(texts.rows) == 5
    assert "not judged" in sections["kinds"].summary and page.measures["CSR"].low is not None
    assert all(finding.section in sections for finding in page.findings)


def test_of_one_response_there_is_a_page_as_well() -> None:
    generator = np.random.default_rng(0)
    page = check_page(counted([response(0, generator, 9)]), "a.jsonl", 0)
    assert page.title == "1 response of a.jsonl, checked"
    assert next(section for section in page.sections if section.id == "numbers").title == "How many at once"


def test_where_all_lists_are_of_one_length_it_is_told_how_many_are_met_together() -> None:
    generator = np.random.default_rng(3)
    rows = [response(number, generator, 12) for number in range(100)]
    section = next(part for part in check_page(counted(rows), "a.jsonl", 0).sections if part.id == "numbers")
    curve = section.figures[0].data
    assert isinstance(curve, Lines)
    met = np.array([sum(verdict.met is True for verdict in row.verdicts) for row in rows])
    assert curve.series[0].y == [pytest.approx((met >= k).mean()) for k in curve.x] and curve.series[0].y[0] == 1
    assert f"half of the responses meet {np.sort(met)[50]} or more, the best one {met.max()}" in section.summary


def test_a_length_that_one_response_has_is_no_point_of_a_curve() -> None:
    generator = np.random.default_rng(4)
    rows = [*(response(number, generator, 12) for number in range(40)), response(40, generator, 9)]
    section = next(part for part in check_page(counted(rows), "a.jsonl", 0).sections if part.id == "numbers")
    assert section.title == "How many at once" and section.summary.startswith("Of 12 attributes")
    assert "1 with lists of other lengths is left out" in section.meaning
