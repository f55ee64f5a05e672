"""Rules of the Vector-ICL claims decide as they say; controls mean what they say; the quick scale runs through."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from armillary.methods.vector_icl.baselines import standardised
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.embedding import embed_tokens
from armillary.methods.vector_icl.prompts import text_ids
from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Rule, judge
from armillary.report.html import render_html
from replays import replay
from reproductions.vector_icl.carrier import ArmRow, Carrier, Prompt, vector_pair
from reproductions.vector_icl.claims import CLAIMS
from reproductions.vector_icl.data.series import random_convolutions, series_text
from reproductions.vector_icl.episodes import draw_episode
from reproductions.vector_icl.few_shot import Draw, exchanged, numbers_of
from reproductions.vector_icl.measures import class_measures
from reproductions.vector_icl.scale import Reading
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.stages import STAGES
from reproductions.vector_icl.tasks import ClassTask, Part


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


GOOD = {name: about(0.6) for claim in CLAIMS for name in claim.names} | {
    **{name: about(0.0) for claim in CLAIMS for name in claim.names if name.endswith("still falling")},
    **{f"texts/loss still falling, {start}": about(0.0) for start in ("paper's start", "warm start")},
    "topics/mlp minus linear": about(0.0),
    "series/tokens, text over vectors": about(4.0),
    "molecules/tokens, text over vectors": about(2.0),
}


PRETRAINED = "texts/shuffled minus true, paper's start"
READ = "numbers/mean minus better of vectors and text at 8"


def outcome(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.outcome for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: Claim) -> None:
    assert isinstance(claim.decide, Rule)
    against = 0.9 if claim.id == "linear-is-enough" else -0.9
    assert outcome(claim.id, {}) == "holds"
    assert outcome(claim.id, {claim.decide.needs[0]: about(against)}) == "fails"
    assert outcome(claim.id, {claim.decide.needs[0]: about(0.0, 1.0)}) == "undecided: interval too wide"


@pytest.mark.parametrize(
    ("claim", "change", "wanted"),
    [
        # The trained arm decides whether the model is too small, not an untrained one.
        ("near-a-specialist", {"digits/vectors minus chance": about(0.05)}, "undecided: model too small"),
        ("near-a-specialist", {"digits/vectors minus 1-NN": about(-0.36, 0.05)}, "fails"),
        ("near-a-specialist", {"digits/loss still falling": about(0.4)}, "undecided: control failed"),
        (
            "pretraining-enables",
            {"texts/shuffled minus true, paper's start": about(0.03, 0.09)},
            "undecided: interval too wide",
        ),
        (
            "regression",
            {"numbers/mean minus better of vectors and text at 8": about(-0.1)},
            "undecided: model too small",
        ),
        # Few-shot text, which has seen no training label, does not decide.
        ("beats-text-where-text-is-poor", {"series/tuned vectors minus tuned text": about(-0.3)}, "fails"),
        ("beats-text-where-text-is-poor", {"series/vectors minus text": about(-0.3)}, "holds"),
    ],
)
def test_what_decides(claim: str, change: dict[str, Interval], wanted: str) -> None:
    assert outcome(claim, change) == wanted


def two_clouds(words: tuple[str, str] = (" left", " right")) -> ClassTask:
    generator = np.random.default_rng(0)
    sides = np.arange(40) % 2
    vectors = standardised(generator.normal(size=(40, 6)) + 6 * sides[:, None])[0]
    told = tuple(words[side] for side in sides)
    texts = tuple(f"number {index}" for index in range(40))
    part = Part(vectors=vectors, words=told, texts=texts)
    return ClassTask(
        name="clouds",
        template=SlotTemplate(("(", ")'s side is")),
        train=part.some(range(20)),
        test=part.some(range(20, 40)),
    )


def test_a_slot_that_is_a_token_embedding_scores_as_the_token(context: Context) -> None:
    """Vectors and text go the same way through template, demonstrations and answers."""
    template = SlotTemplate(("(", ")'s side is"))
    texts = ["a", "b", "c", "d"]
    ids = [text_ids(context.loaded, text) for text in texts]
    assert all(len(one) == 1 for one in ids)
    texts_shown = Carrier.of_texts(context.loaded, template, texts)
    slots = embed_tokens(
        context.loaded, texts_shown.loaded.model.get_input_embeddings().weight.new_tensor(ids).long()[:, 0]
    )
    by_slots = Carrier(context.loaded, texts_shown.layout, slots_ND=slots)
    scores = [
        Prompt.of(carrier, [0, 1], [" left", " right"]).label_scores(carrier, [2, 3], [" left", " right"])
        for carrier in (texts_shown, by_slots)
    ]
    assert np.allclose(*scores, atol=1e-5)
    other = Prompt.of(texts_shown, [0, 1], [" right", " left"]).label_scores(texts_shown, [2, 3], [" left", " right"])
    assert not np.allclose(scores[0], other, atol=1e-5), "the demonstrations' answers are read"


def test_a_draw_shows_and_asks_of_each_class_equally() -> None:
    task, reading = two_clouds(), Reading(draws=1, queries=6, calibration=4)
    draw = Draw.of(task, (1, 2), reading, 3)
    assert draw.demonstrations[0] == [] and set(draw.demonstrations[1]) <= set(draw.demonstrations[2])
    assert Counter(task.test.words[index] for index in draw.queries) == {" left": 3, " right": 3}
    assert Counter(task.train.words[index] for index in draw.calibration) == {" left": 2, " right": 2}
    assert not set(draw.calibration) & set(draw.demonstrations[2])


def test_calibration_takes_out_what_a_label_has_whatever_the_input(context: Context) -> None:
    """A constant added to the scores of one label changes the raw answers and not the calibrated ones."""
    task = two_clouds()
    pair = vector_pair(
        context.loaded,
        task.template,
        context.new_projector(task.train.vectors),
        task.train.vectors,
        task.test.vectors,
    )

    class Biased(Prompt):
        def label_scores(self, queries: Carrier, indices: Sequence[int], labels: Sequence[str]) -> NDArray[np.float64]:
            return super().label_scores(queries, indices, labels) + np.array([0.0, 50.0])

    plain = Prompt.of(pair[0], [0, 1], [" left", " right"])
    biased = Biased(plain.prefix, plain.layout)
    asked = (pair, range(10), range(2, 12), [" left", " right"])
    assert plain.best_labels(*asked)[0] == biased.best_labels(*asked)[0]
    assert set(biased.best_labels(*asked)[1]) == {" right"}


def test_numbers_that_a_text_tells() -> None:
    table = numbers_of(["1 20", "30 4"])
    assert table is not None and np.allclose(table, [[0.01, 0.2], [0.3, 0.04]])
    assert numbers_of(["a noun", "1 2"]) is None and numbers_of(["1", "1 2"]) is None and numbers_of(None) is None


def test_episodes_keep_classes_words_and_queries_over_shots() -> None:
    task = two_clouds()
    few, more = (draw_episode(task, shots, 2, 6, 7, calibration=4, most=3) for shots in (1, 3))
    assert few.words == more.words and few.queries == more.queries and few.calibration == more.calibration
    assert not set(more.shown) & set(more.calibration)
    assert Counter(task.test.words[index] for index in few.queries) == {" left": 3, " right": 3}
    assert len(few.shown) == 2 and len(more.shown) == 6
    assert set(few.words) == {" left", " right"} and draw_episode(task, 1, 2, 6, 8).words != few.words


def test_what_is_fitted_is_fitted_on_training_inputs_alone() -> None:
    train = np.random.default_rng(0).normal(size=(30, 5)) * 4 + 1
    first, second = standardised(train, train + 100)
    assert np.allclose(first.mean(0), 0, atol=1e-6)
    assert np.sqrt((first**2).sum(1).mean()) == pytest.approx(1, abs=1e-5) and second.min() > 5


def test_series_are_told_apart_by_their_encoding() -> None:
    at = np.linspace(0, 1, 96)
    slow, fast = np.sin(2 * np.pi * 2 * at), np.sin(2 * np.pi * 20 * at)
    features = random_convolutions(np.stack([slow, slow, fast]), 0)
    assert np.array_equal(features[0], features[1]) and not np.allclose(features[0], features[2])
    assert len(series_text(slow).split()) == 24 and series_text(np.zeros(96)).split() == ["50"] * 24


def row(right: list[float], shuffled: list[float]) -> ArmRow:
    return ArmRow(
        task="x",
        shots=[1],
        draws=1,
        scores={"vectors": {"1": right}, "shuffled": {"1": shuffled}},
        raw={"vectors": {"1": shuffled}},
        whole={"logistic regression on all": [1.0, 1.0, 1.0, 0.0]},
        losses=[9.0, 9.0, 9.0, 9.0, 3.0, 3.0, 2.0, 2.0],
        chance=0.5,
    )


def test_measures_by_hand() -> None:
    measured = class_measures("x", [row([1, 1, 1, 0], [0, 1, 0, 0]), row([1, 1, 1, 1], [0, 1, 1, 0])])
    wanted = {
        "x/accuracy at 1, vectors": 0.875,
        "x/accuracy at 1, vectors, uncalibrated": 0.375,
        "x/vectors minus shuffled": 0.5,
        "x/vectors minus chance": 0.375,
        "x/logistic regression on all minus chance": 0.25,
        "x/loss still falling": 1.0,
    }
    assert {name: measured[name].estimate for name in wanted} == pytest.approx(wanted)
    accuracy = measured["x/accuracy at 1, vectors"]
    assert accuracy.n == 2 and accuracy.high == 1.0, "over seeds, and inside its range"


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    record, _ = replay("reproduce-vector_icl", tmp_path_factory)
    # The claims name the shots of larger presets.
    missing = {name for claim in CLAIMS for name in claim.names} - set(record.measures)
    assert all(re.search(r" at [458]\b", name) for name in missing), missing
    shown = {section.id for section in record.sections}
    assert shown == {claim.id for claim in CLAIMS} and len(STAGES) == 7
    assert all(section.figures for section in record.sections)
    assert "<svg" in render_html(record), "its report can be drawn"


def test_exchanged_answers_are_the_same_in_another_order() -> None:
    for seed in range(20):
        assert exchanged([" a", " b"], seed) == [" b", " a"]
        mixed = exchanged([" a", " b", " a"], seed)
        assert sorted(mixed) == [" a", " a", " b"] and mixed != [" a", " b", " a"]
    assert exchanged([" a", " a"], 0) == [" a", " a"]
