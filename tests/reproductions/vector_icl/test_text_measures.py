"""Measures of rows R1, R3, R6 and R9 against numbers worked out by hand, and the curves that show them."""

import pytest

from armillary.records.sections import Lines
from reproductions.vector_icl.captions import CaptionRow
from reproductions.vector_icl.measures import caption_measures, number_measures, signal_measures, text_measures
from reproductions.vector_icl.numbers import NumberRow, NumberSeed
from reproductions.vector_icl.report import over_shots
from reproductions.vector_icl.texts import GlossRow, SignalRow, Signals

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
    packed={"paper's start": BOXES, "warm start": BOXES},
    f1={"true": [0.5, 0.3], "shuffled": [0.1, 0.1]},
    examples=[("a dog", "a cat")],
)
SIGNALS = SignalRow(snr={snr: Signals(nll=BOXES, top1=[1.0, 0.0, 0.0]) for snr in ("inf", "1", "0.3")}, chance=1 / 3)
SEED = NumberSeed(
    errors={
        "vectors": {"2": [0.5, 0.3], "8": [0.1, 0.3]},
        "shuffled": {"2": [0.6, 0.6], "8": [0.6, 0.6]},
        "random projector": {"8": [0.9, 0.9]},
        "text": {"2": [0.5, 0.5], "8": [0.3, 0.4]},
        "mean": {"2": [0.4, 0.4], "8": [0.4, 0.4]},
        "least squares": {"2": [0.0, 0.0], "8": [0.0, 0.0]},
        "1-NN": {"2": [0.2, 0.2], "8": [0.2, 0.2]},
    },
    missing={arm: 0 for arm in ("shuffled", "random projector", "mean", "least squares", "1-NN")}
    | {"vectors": 1, "text": 2},
    answers=dict.fromkeys(("vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN"), 8),
)
NUMBERS = NumberRow(shots=[2, 8], seeds=[SEED, SEED])
F1 = {
    "vectors": {"1": [0.5, 0.7, 0.9], "4": [0.6, 0.8, 1.0]},
    "shuffled": {"4": [0.4, 0.4, 0.4]},
    "text": {"1": [0.2, 0.2], "4": [0.4, 0.2]},
    **{arm: {"4": [0.1, 0.1, 0.1]} for arm in ("random projector", "soft prompt")},
    "1-NN": {"1": [0.3, 0.3, 0.3], "4": [0.5, 0.5, 0.5]},
    **{arm: {"0": [0.6, 0.6, 0.6]} for arm in ("zero-shot", "1-NN of all", "most frequent")},
}
MOLECULES = CaptionRow(
    shots=[1, 4],
    f1=F1,
    words=F1,
    tokens={"vectors": 30.0, "text": 45.0},
    examples=[("right", "vectors", "text")],
)
MEASURES = {
    **text_measures(TEXTS),
    **signal_measures(SIGNALS),
    **number_measures(NUMBERS),
    **caption_measures(MOLECULES),
}

WANTED = {
    "texts/shuffled minus true, paper's start": (1.0 + 0.5 + 0.6) / 3,
    "texts/shuffled minus true, warm start": 1.0,
    "texts/soft prompt minus true, paper's start": (1.0 + 1.0 + 1.3) / 3,
    "texts/soft prompt minus true, warm start": (1.0 + 2.0 + 3.3) / 3,
    "texts/none minus true, warm start": 5.0,
    "texts/shuffled minus true, untrained warm start": 0.5,
    "texts/shuffled minus true, untrained paper's start": 0.0,
    "texts/token F1, true box": 0.4,
    "texts/token F1, shuffled box": 0.1,
    "signals/gap at SNR 0.3": 0.7,
    "signals/decoder top-1 at SNR inf": 1 / 3,
    "numbers/error at 8, vectors": 0.2,
    "numbers/error at 8, random projector": 0.9,
    "numbers/text minus vectors at 8": 0.15,
    "numbers/shuffled minus vectors at 2": 0.2,
    "numbers/slope of error, seed 1": -0.1,  # from 0.4 to 0.2 over two doublings
    "numbers/missing, text": 0.25,
    "numbers/missing, vectors": 0.125,
    "molecules/F1 at 4, vectors": 0.8,
    "molecules/F1 at 0, 1-NN of all": 0.6,
    "molecules/vectors minus text at 4": 0.4,  # of the two queries that text has
    "molecules/shuffled below vectors at 4": 0.4,
    "molecules/tokens, text over vectors": 1.5,
}


@pytest.mark.parametrize("name", WANTED)
def test_measure(name: str) -> None:
    found = MEASURES[name]
    assert found.estimate == pytest.approx(WANTED[name])
    assert found.lower <= found.estimate <= found.upper


def test_episodes_of_all_seeds_are_pooled() -> None:
    assert MEASURES["numbers/error at 8, vectors"].n == 4 and MEASURES["numbers/slope of error, seed 0"].n == 2
    assert MEASURES["numbers/missing, text"].n == 16
    assert "molecules/shuffled below vectors at 1" not in MEASURES  # one caption has none to be exchanged with


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
