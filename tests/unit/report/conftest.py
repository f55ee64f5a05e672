"""A record with one of everything that a report can show, and one whose every word is hostile."""

from collections.abc import Callable
from typing import Any

import pytest

from armillary.numerics.intervals import Interval
from armillary.records import ClaimResult, Figure, Finding, RunRecord, Section, Table
from armillary.records.sections import (
    AnswerPair,
    AnswerPairs,
    Bars,
    Heatmap,
    Lines,
    MarkedNote,
    MarkedText,
    MarkedTexts,
    OrderPair,
    OrderPairs,
    PlacedStep,
    Points,
    Series,
    TokenRow,
    Tokens,
    marked_pieces,
)

HOSTILE = (
    "<script>alert(1)</script>\"'&</style><!--\u202eback\x00\n\u2028😀東京\ufffd\ud800"
    "${x}{{7*7}}$\\frac{1}$<img src=x>"
)


def figures(word: str, interactive: bool) -> list[Figure]:
    words: list[Any] = [word, "b", f"{word}2"]
    return [
        Figure(title=word, alt=word, interactive=interactive, data=Heatmap(
            rows=words, columns=words, values=[[0.1, None, 0.9], [0.2, 0.5, 1.0], [-0.1, 0.0, 0.3]], unit=word)),
        Figure(title=word, alt=word, data=Bars(
            labels=words, values=[0.5, None, -0.2], low=[0.4, None, -0.3], high=[0.6, None, 0.1],
            reference=[0.1, 0.2, None], reference_name=word, x_label=word)),
        Figure(title=word, alt=word, data=Lines(
            x=[0, 1, 2], x_label=word, y_label=word,
            series=[Series(name=word, y=[1.0, None, 3.0], low=[0.0, None, 2.0], high=[2.0, None, 4.0]),
                    Series(name="b", y=[2.0, 2.0, 2.0])])),
        Figure(title=word, alt=word, interactive=interactive, data=Points(
            x=[1.0, 2.0, None], y=[1.0, 3.0, 2.0], labels=words, groups=words, x_label=word, y_label=word)),
        Figure(title=word, alt=word, data=Tokens(
            rows=[TokenRow(label=word, note=word, tokens=[*words], values=[-2.0, None, 0.7]),
                  TokenRow(label="b", tokens=[], values=[])],
            limit=2.0, low_name=word, high_name=word)),
        Figure(title=word, alt=word, data=AnswerPairs(
            rows=[AnswerPair(prompt=word, shared=word, before=(word, word), after=("", ""), change=word, turn="worse",
                             group=word, wanted=word, numbers=[0.25, 3]),
                  AnswerPair(prompt="b", shared="", before=("x", " y"), after=("z", ""), numbers=[None, None])],
            numbers=[word, "n"], before_name=word, after_name="after")),
        Figure(title=word, alt=word, data=MarkedTexts(
            rows=[MarkedText(title=word, prompt=word, pieces=marked_pieces(word, [(0, len(word), 0), (0, 1, 1)]),
                             notes=[MarkedNote(text=word, detail=word), MarkedNote(text="b"),
                                    MarkedNote(text=f"{word}2", detail=word)])])),
        Figure(title=word, alt=word, data=OrderPairs(
            rows=[OrderPair(title=word, prompt=word,
                            before=[PlacedStep(text=word, place=1, other=3, moved=True, note=word),
                                    PlacedStep(skipped=2)],
                            after=[PlacedStep(skipped=2), PlacedStep(text=word, place=3, other=1, moved=True)])],
            before_name=word, after_name=word)),
    ]  # fmt: skip


def record(word: str = "plain words", *, interactive: bool = False) -> RunRecord:
    interval = Interval(estimate=0.7, low=0.6, high=0.8, n=40, how=word)
    claim: dict[str, Any] = {"statement": word, "paper": word, "quantity": word, "rule": word, "note": word}
    section = Section(id=word, title=word, summary=word, meaning=word, caution=word,
                      figures=figures(word, interactive),
                      tables=[Table(title=word, columns=[word, "n"], rows=[[word, 0.12345], [None, 3]],
                                    note=word)])  # fmt: skip
    return RunRecord(
        kind="checkup", title=word, config={word: [word], "n": None}, models={"model": {"name": word, "layers": 30}},
        seed=0, measures={word: interval, "runs": Interval(estimate=float("nan"), n=3)},
        findings=[Finding(text=f"second {word}", interest=0.1, section="nowhere"),
                  Finding(text=f"first {word}", interest=0.9, section=word)],
        sections=[section],
        claims=[ClaimResult(id="a", verdict="holds", measured={word: interval}, **claim),
                ClaimResult(id="b", verdict="fails", **claim), ClaimResult(id="c", verdict="undecided", **claim)],
        data=[{"name": word, "url": "https://example.org/a?b=1&c=2"}, {"name": "x", "url": f"javascript:{word}"}],
        versions={"armillary": word}, machine={"cores": 2}, started="2026-07-01T10:00:00+00:00", seconds=205.3,
    )  # fmt: skip


@pytest.fixture
def make_record() -> Callable[..., RunRecord]:
    return record


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture
def make_figures() -> Callable[[str, bool], list[Any]]:
    return figures
