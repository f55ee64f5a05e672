"""Rules of the Vector-ICL claims decide as they say; controls mean what they say; the quick scale runs through."""

from pathlib import Path

import numpy as np
import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.methods.vector_icl.baselines import standardised
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.embedding import embed_tokens
from armillary.methods.vector_icl.prompts import text_ids
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.vector_icl.carrier import ArmRow, Carrier, Prompt
from reproductions.vector_icl.claims import CLAIMS
from reproductions.vector_icl.data.series import random_convolutions, series_text
from reproductions.vector_icl.episodes import draw_episode
from reproductions.vector_icl.few_shot import FewShotTask, exchanged
from reproductions.vector_icl.measures import few_shot_measures
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.stages import STAGES
from reproductions.vector_icl.tasks import ClassTask, Part


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


GOOD = {
    **{f"texts/shuffled minus true, {start}": about(0.6) for start in ("paper's start", "warm start")},
    **{f"texts/soft prompt minus true, {start}": about(0.4) for start in ("paper's start", "warm start")},
    "digits/slope in shots, least of the seeds": about(0.1),
    "numbers/slope of error, worst of the seeds": about(0.1),
    "topics/tuned minus pretrained": about(0.2),
    "series/vectors minus text": about(0.2),
    "molecules/vectors minus text": about(0.2),
    "numbers/text minus vectors at 8": about(0.3),
    "topics/mlp minus linear": about(0.0),
    "encoders/rank correlation": about(0.95),
    "digits/vectors minus shuffled": about(0.3),
    "digits/gain over shuffled, episodic minus fixed": about(0.2),
    "digits/vectors minus 1-NN": about(-0.05),
    "series/vectors minus 1-NN, episodes": about(-0.05),
    "digits/symbols": about(0.95),
    "series/symbols, episodes": about(0.95),
    "series/tokens, text over vectors": about(4.0),
    "molecules/tokens, text over vectors": about(2.0),
}
REFUTED = {
    "pretraining-enables": {"texts/shuffled minus true, warm start": about(0.0)},
    "shots-help": {"numbers/slope of error, worst of the seeds": about(-0.1)},
    "tuning-helps": {"topics/tuned minus pretrained": about(0.01)},
    "beats-text-where-text-is-poor": {name: about(-0.1) for name in GOOD if name.endswith("vectors minus text")},
    "regression": {"numbers/text minus vectors at 8": about(-0.1)},
    "linear-is-enough": {"topics/mlp minus linear": about(0.1)},
    "better-encoders": {"encoders/rank correlation": about(-0.2)},
    "in-context": {"digits/vectors minus shuffled": about(0.02)},
    "fixed-labels-hide-a-classifier": {"digits/gain over shuffled, episodic minus fixed": about(-0.1)},
    "near-a-specialist": {"digits/vectors minus 1-NN": about(-0.4)},
    "one-token-suffices": {name: about(-0.1) for name in GOOD if name.endswith("vectors minus text")},
}
UNSURE = {
    "pretraining-enables": {"texts/shuffled minus true, warm start": about(0.2)},
    "shots-help": {"digits/slope in shots, least of the seeds": about(0.0)},
    "tuning-helps": {"topics/tuned minus pretrained": about(0.06)},
    "beats-text-where-text-is-poor": {name: about(0.0) for name in GOOD if name.endswith("vectors minus text")},
    "regression": {"numbers/text minus vectors at 8": about(0.0)},
    "linear-is-enough": {"topics/mlp minus linear": about(0.02, 0.1)},
    "better-encoders": {"encoders/rank correlation": about(0.6)},
    "in-context": {"digits/vectors minus shuffled": about(0.1)},
    "fixed-labels-hide-a-classifier": {"digits/gain over shuffled, episodic minus fixed": about(0.0)},
    "near-a-specialist": {"digits/symbols": about(0.3), "digits/vectors minus 1-NN": about(-0.4)},
    "one-token-suffices": {"series/vectors minus text": about(-0.1)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    assert verdict(claim, UNSURE[claim]) == "undecided"


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


def test_demonstrations_are_shared_and_permuted_answers_are_the_same_words(context: Context) -> None:
    asked = FewShotTask.of(context, two_clouds(), 3)
    for shots in context.scale.shots:
        told, mixed = asked.answers(shots), asked.answers(shots, permuted=4)
        assert sorted(told) == sorted(mixed) and len(told) == 2 * shots
    assert set(asked.demonstrations[1]) <= set(asked.demonstrations[2])
    assert set(asked.by_logistic(asked.task.train.vectors, asked.task.train.words)) == {1.0}


def test_episodes_keep_classes_words_and_queries_over_shots() -> None:
    task = two_clouds()
    few, more = (draw_episode(task, shots, 2, 5, 7) for shots in (1, 3))
    assert few.words == more.words and few.queries == more.queries
    assert len(few.shown) == 2 and len(more.shown) == 6
    assert set(few.words) == {" left", " right"} and draw_episode(task, 1, 2, 5, 8).words != few.words


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
        scores={"vectors": {"1": right}, "shuffled": {"1": shuffled}},
        whole={"most frequent class": [0.0] * 4, "logistic regression on all": [1.0, 1.0, 1.0, 0.0]},
        tokens={"vectors": 5.0, "text": 15.0},
    )


def test_measures_by_hand() -> None:
    found = few_shot_measures("x", [row([1, 1, 1, 0], [0, 1, 0, 0])])
    assert found["x/accuracy at 1, vectors"].estimate == 0.75
    assert found["x/vectors minus shuffled"].estimate == 0.5
    assert found["x/accuracy, most frequent class"].estimate == 0
    assert found["x/accuracy, logistic regression on all"].estimate == 0.75
    assert found["x/tokens, text over vectors"].estimate == 3.0


def test_quick_scale_measures_what_the_claims_need(tmp_path: Path) -> None:
    settings = ReproduceSettings(method="vector_icl", model="tiny-llama", preset="quick")
    record = JOBS["reproduce"].run(settings, tmp_path / "run")
    assert {name for claim in CLAIMS for name in claim.names} <= set(record.measures)
    shown = {section.id for section in record.sections}
    assert shown == {claim.id for claim in CLAIMS} | {"others"} and len(STAGES) == 11
    assert all(section.figures for section in record.sections)
    assert (tmp_path / "run" / "report.html").exists()


def test_exchanged_answers_are_the_same_in_another_order() -> None:
    for seed in range(20):
        assert exchanged([" a", " b"], seed) == [" b", " a"]
        mixed = exchanged([" a", " b", " a"], seed)
        assert sorted(mixed) == [" a", " a", " b"] and mixed != [" a", " b", " a"]
    assert exchanged([" a", " a"], 0) == [" a", " a"]
