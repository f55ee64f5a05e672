"""Measures of rows R1, R3, R6 and R9 against numbers worked out by hand, and the sections that tell them."""

from typing import Any

import pytest

from reproductions.vector_icl.measures import text_measures
from reproductions.vector_icl.report import text_sections

BOXES = {"true": [1.0, 2.0, 3.0], "shuffled": [2.0, 2.5, 3.6]}
FOUND: dict[str, Any] = {
    "texts": {
        "nll": {
            "paper's start": BOXES,
            "warm start": {"true": [1.0, 1.0, 1.0], "shuffled": [2.0, 2.0, 2.0]},
            "untrained paper's start": {"true": [5.0, 5.0, 5.0], "shuffled": [5.0, 5.0, 5.0]},
            "untrained warm start": {"true": [4.0, 4.0, 4.0], "shuffled": [4.5, 4.5, 4.5]},
            "soft prompt": {"true": [2.0, 3.0, 4.3]},
        },
        "none": [6.0, 6.0, 6.0],
        "packed": {"paper's start": BOXES, "warm start": BOXES},
        "said": {"f1": {"true": [0.5, 0.3], "shuffled": [0.1, 0.1]}, "examples": [["a dog", "a cat"]]},
        "losses": {},
    },
    "signals": {
        "snr": {snr: {"nll": BOXES, "top1": [1.0, 0.0, 0.0], "losses": []} for snr in ("inf", "1", "0.3")},
        "chance": 1 / 3,
    },
    "numbers": {
        "shots": [2, 8],
        "seeds": [
            {
                "errors": {
                    "vectors": {"2": [0.5, 0.3], "8": [0.1, 0.3]},
                    "shuffled": {"2": [0.6, 0.6], "8": [0.6, 0.6]},
                    "random projector": {"8": [0.9, 0.9]},
                    "text": {"2": [0.5, 0.5], "8": [0.3, 0.4]},
                    "mean": {"2": [0.4, 0.4], "8": [0.4, 0.4]},
                    "least squares": {"2": [0.0, 0.0], "8": [0.0, 0.0]},
                    "1-NN": {"2": [0.2, 0.2], "8": [0.2, 0.2]},
                },
                "missing": {arm: 0 for arm in ("shuffled", "random projector", "mean", "least squares", "1-NN")}
                | {"vectors": 1, "text": 2},
                "asked": dict.fromkeys(
                    ("vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN"), 8
                ),
                "losses": [],
            }
        ]
        * 2,
        "tokens": {"vectors": 20.0, "text": 24.0},
    },
    "molecules": {
        "shots": [1, 4],
        "f1": {
            "vectors": {"1": [0.5, 0.7, 0.9], "4": [0.6, 0.8, 1.0]},
            "shuffled": {"4": [0.4, 0.4, 0.4]},
            "text": {"1": [0.2, 0.2], "4": [0.4, 0.2]},
            **{arm: {"4": [0.1, 0.1, 0.1]} for arm in ("random projector", "soft prompt")},
            "1-NN": {"1": [0.3, 0.3, 0.3], "4": [0.5, 0.5, 0.5]},
            **{arm: {"0": [0.6, 0.6, 0.6]} for arm in ("zero-shot", "1-NN of all", "most frequent")},
        },
        "tokens": {"vectors": 30.0, "text": 45.0},
        "losses": {},
        "examples": [["right", "vectors", "text"]],
    },
}
FOUND["molecules"]["words"] = FOUND["molecules"]["f1"]

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
    found = text_measures(FOUND)[name]
    assert found.estimate == pytest.approx(WANTED[name])
    assert found.lower <= found.estimate <= found.upper


def test_episodes_of_all_seeds_are_pooled() -> None:
    found = text_measures(FOUND)
    assert found["numbers/error at 8, vectors"].n == 4 and found["numbers/slope of error, seed 0"].n == 2
    assert found["numbers/missing, text"].n == 16
    assert "molecules/shuffled below vectors at 1" not in found  # one caption has none to be exchanged with


def test_sections_draw_intervals_and_tell_numbers() -> None:
    sections = text_sections(FOUND, text_measures(FOUND))
    assert [section.id for section in sections] == ["texts", "numbers", "molecules", "signals"]
    assert "0.70 [0.50, 1.00] nats" in sections[0].summary and "0.20" in sections[1].summary
    lines = {series["name"]: series for series in sections[1].figures[0].data["series"]}
    assert lines["vectors"]["y"] == [pytest.approx(0.4), pytest.approx(0.2)]
    assert lines["vectors"]["low"][1] < 0.2 < lines["vectors"]["high"][1]
    assert lines["random projector"]["y"] == [None, pytest.approx(0.9)]
    assert all("nan" not in section.summary for section in sections)
