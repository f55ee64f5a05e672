"""Measures of rows R1, R3 and R6 against numbers worked out by hand, and the curves that show them."""

import pytest

from armillary.records.sections import Lines
from reproductions.vector_icl.captions import CaptionRow
from reproductions.vector_icl.measures import caption_measures, number_measures, text_measures
from reproductions.vector_icl.numbers import NumberRow, NumberSeed
from reproductions.vector_icl.report import over_shots
from reproductions.vector_icl.texts import GlossRow

BOXES = {"true": [1.0, 2.0, 3.0], "shuffled": [2.0, 2.5, 3.6]}
TEXTS = GlossRow(
    nll={
        "paper's start": BOXES,
        "warm start": {"true": [1.0, 1.0, 1.0], "shuffled": [2.0, 2.0, 2.0]},
        "untrained paper's start": {"true": [5.0, 5.0, 5.0], "shuffled": [5.0, 5.0, 5.0]},
        "untrained warm start": {"true": [4.0, 4.0, 4.0], "shuffled": [4.5, 4.5, 4.5]},
        "soft prompt": {"true": [2.0, 3.0, 4.3]},
    },
    none=[6.0, 6.0, 6.0],
    losses={arm: [4.0] * 4 + [3.0] * 2 + [2.5] * 2 for arm in ("paper's start", "warm start", "soft prompt")},
)
SEED = NumberSeed(
    errors={
        "vectors": {"2": [0.5, 0.3], "8": [0.1, 0.3]},
        "shuffled": {"8": [0.6, 0.6]},
        "random projector": {"8": [0.9, 0.9]},
        "text": {"8": [0.3, 0.4]},
        "mean": {"2": [0.4, 0.4], "8": [0.4, 0.4]},
        "least squares": {"2": [0.0, 0.0], "8": [0.0, 0.0]},
        "1-NN": {"2": [0.2, 0.2], "8": [0.2, 0.2]},
    },
    missing={arm: 0 for arm in ("shuffled", "random projector", "mean", "least squares", "1-NN")}
    | {"vectors": 1, "text": 2},
    answers=dict.fromkeys(("vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN"), 8),
    losses=[2.0] * 8,
)
NUMBERS = NumberRow(shots=[2, 8], seeds=[SEED, SEED])
F1 = {
    "vectors": {"4": [0.6, 0.8, 1.0]},
    "shuffled": {"4": [0.4, 0.4, 0.4]},
    "text": {"4": [0.4, 0.2, 0.3]},
    "random projector": {"4": [0.1, 0.1, 0.1]},
    **{arm: {"0": [0.6, 0.6, 0.6]} for arm in ("1-NN of all", "1-NN of all by SMILES", "most frequent")},
}
MOLECULES = CaptionRow(
    shots=[4],
    draws=1,
    f1=F1,
    tokens={"vectors": 30.0, "text": 45.0},
    examples=[("right", "vectors", "text")],
    losses=[2.0] * 8,
)
MEASURES = {
    **text_measures(TEXTS),
    **number_measures(NUMBERS),
    **caption_measures([MOLECULES, MOLECULES]),
}

WANTED = {
    "texts/shuffled minus true, paper's start": (1.0 + 0.5 + 0.6) / 3,
    "texts/shuffled minus true, warm start": 1.0,
    "texts/soft prompt minus true, paper's start": (1.0 + 1.0 + 1.3) / 3,
    "texts/soft prompt minus true, warm start": (1.0 + 2.0 + 3.3) / 3,
    "texts/shuffled minus true, untrained warm start": 0.5,
    "texts/untrained minus trained, warm start": 3.0,
    "texts/loss still falling, warm start": 0.5,
    "numbers/error at 8, vectors": 0.2,
    "numbers/error at 8, random projector": 0.9,
    "numbers/text minus vectors at 8": 0.15,
    "numbers/mean minus better of vectors and text at 8": 0.2,
    "numbers/slope of error": 0.1,  # from 0.4 to 0.2 over two doublings
    "numbers/missing, text": 0.25,
    "numbers/missing, vectors": 0.125,
    "molecules/F1 at 4, vectors": 0.8,
    "molecules/F1 at 0, 1-NN of all": 0.6,
    "molecules/vectors minus text": 0.5,
    "molecules/tuned vectors minus tuned text": 0.2,
    "molecules/tokens, text over vectors": 1.5,
}


@pytest.mark.parametrize("name", WANTED)
def test_measure(name: str) -> None:
    found = MEASURES[name]
    assert found.estimate == pytest.approx(WANTED[name])
    assert found.lower <= found.estimate <= found.upper


def test_seeds_are_what_intervals_are_over() -> None:
    assert MEASURES["molecules/F1 at 4, vectors"].n == 2
    assert MEASURES["texts/shuffled minus true, warm start"].n == 3, "texts, of the one projector"
    assert MEASURES["numbers/error at 8, vectors"].n == 4, "functions, of all seeds"


def test_curves_draw_intervals_and_tell_numbers() -> None:
    arms = ("vectors", "random projector", "never asked")
    figure = over_shots("Numbers", "numbers/error", [2, 8], MEASURES, arms)
    assert isinstance(figure.data, Lines) and "vectors 0.20" in figure.alt and "nan" not in figure.alt
    lines = {series.name: series for series in figure.data.series}
    assert set(lines) == {"vectors", "random projector"}
    assert lines["vectors"].y == [pytest.approx(0.4), pytest.approx(0.2)]
    assert lines["vectors"].low is not None and lines["vectors"].high is not None
    low, high = lines["vectors"].low[1], lines["vectors"].high[1]
    assert low is not None and high is not None and low < 0.2 < high
    assert lines["random projector"].y == [None, pytest.approx(0.9)]
