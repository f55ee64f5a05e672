"""The estimators: what they find, what they refuse, and what scikit-learn asks of them."""

import copy
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from armillary.data.vector_files import VectorFile
from armillary.errors import ModelError, UsageError
from armillary.methods.vector_icl import training
from armillary.methods.vector_icl.config import (
    PRETRAINING,
    SHOTS,
    STEPS,
    FitConfig,
    SlotTemplate,
    TrainingConfig,
    fit_training,
)
from armillary.methods.vector_icl.embedding import embed_tokens
from armillary.methods.vector_icl.estimators import (
    VectorICLClassifier,
    VectorICLGenerator,
    VectorICLRegressor,
    estimator_of,
    load_fitted,
)
from armillary.methods.vector_icl.inputs import checked_vectors
from armillary.methods.vector_icl.problem import label_words, problem_of
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import text_ids
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load

QUICK = TrainingConfig(steps=1, batch_size=4)
LEFT_OUT = {
    "check_estimators_overwrite_params": "hashes a deep copy of the model: unchanged, it still differs",
    "check_array_api_input": "needs SCIPY_ARRAY_API in the environment",
}
"""Checks of scikit-learn that are left out, and why; all others are run."""


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    return load("tiny-llama", dtype="float64", device="cpu")


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(lm: LoadedModel, kind: str) -> None:
    given: Any = VectorICLClassifier(lm, shots=1, training=QUICK)
    if kind == "regressor":
        given = VectorICLRegressor(lm, shots=1, levels=10, constrain=True, training=QUICK)
    names = []
    for estimator, check in estimator_checks_generator(given, legacy=True, mark=None):
        names.append(getattr(check, "func", check).__name__)
        if names[-1] not in LEFT_OUT:
            check(estimator)
    assert len(names) > 40 and set(LEFT_OUT) <= set(names)


def data(rows: int = 8, width: int = 4) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    X = np.random.RandomState(0).randn(rows, width)
    return X, np.array(["cat", "dog"])[np.arange(rows) % 2]


def test_fixed_demonstrations_are_read_once_and_give_what_a_rebuilt_prompt_gives(lm: LoadedModel) -> None:
    X, y = data()
    fitted = VectorICLClassifier(lm, shots=2, training=QUICK).fit(X, y)
    found = fitted.decision_scores(X)
    labels = [text_ids(lm, word) for word in (" cat", " dog")]
    with torch.inference_mode():
        for row, prompt in enumerate(fitted.prompt_embeds(X)):
            for place, label in enumerate(labels):
                embeds = torch.cat([prompt[None], embed_tokens(lm, torch.tensor([label]))], dim=1)
                logp = lm.model(inputs_embeds=embeds).logits[0].log_softmax(-1)
                wanted = sum(float(logp[len(prompt) - 1 + step, token]) for step, token in enumerate(label))
                assert found[row, place] == pytest.approx(wanted, abs=1e-5)
    assert len(fitted.demonstrations_) == 4 and fitted.predict_proba(X).sum(1) == pytest.approx(np.ones(8))
    again = clone(fitted)
    assert again.lm is lm and not hasattr(again, "projector_")


def test_every_way_of_starting_drawing_and_scoring_gives_probabilities(lm: LoadedModel) -> None:
    X, y = data()
    for settings in (
        {"calibrate": True, "norm": "match", "start": "ridge"},
        {"label_mode": "episodic", "demos": "per_query", "average": True},
        {"projector": "mlp", "tune": False, "shots": 0, "template": SlotTemplate(("<", "|", "> is"))},
    ):
        found = VectorICLClassifier(lm, training=QUICK, **settings).fit(X, y).predict_proba(X[:2])
        assert found.sum(1) == pytest.approx(np.ones(2)) and (found > 0).all()


def test_tuning_learns_separable_classes(lm: LoadedModel) -> None:
    X, y = data(16)
    X[:, 0] = np.where(y == "cat", 3.0, -3.0)
    config = TrainingConfig(steps=30, batch_size=8, learning_rate=0.1, pack=(1, 4))
    assert VectorICLClassifier(lm, shots=1, training=config, norm="match").fit(X, y).score(X, y) == 1.0


def test_pretrained_projectors_are_what_a_fit_begins_with(lm: LoadedModel) -> None:
    X, y = data()
    estimator = VectorICLClassifier(lm, shots=1, tune=False, pretraining=QUICK)
    estimator.pretrain(X, [" red dog"] * 8).fit(X, y)
    assert torch.equal(estimator.projector_.into.weight, estimator.pretrained_.into.weight)
    given = VectorICLClassifier(lm, shots=1, tune=False, projector=estimator.pretrained_).fit(X, y)
    assert (given.decision_scores(X) == estimator.decision_scores(X)).all()
    with pytest.raises(UsageError, match="needs an encoder"):
        estimator.pretrain(["some long text of many words"])
    with pytest.raises(UsageError, match="maps 4 numbers"):
        given.fit(X[:, :3], y)


def test_an_encoder_takes_anything(lm: LoadedModel) -> None:
    def lengths(items: list[str]) -> np.ndarray[Any, Any]:
        return np.array([[len(item), 1.0] for item in items])

    estimator = VectorICLClassifier(lm, encoder=lengths, shots=1, training=QUICK, pretraining=QUICK)
    estimator.pretrain(["a text of some words. Another one.", "a second text of words"])
    assert set(estimator.fit(["a", "bb"], ["x", "y"]).predict(["a", "ccc"])) <= {"x", "y"}


def test_numbers_are_written_and_read(lm: LoadedModel) -> None:
    X = np.random.RandomState(0).randint(0, 99, (8, 2))
    digits = VectorICLRegressor(lm, shots=2, features="digits", digits=2, training=QUICK, constrain=True)
    found = digits.fit(X, X.sum(1)).predict(X[:3])
    assert (found >= 0).all() and (found == found.astype(int)).all()
    assert digits.projector_.vector_size == 20
    free = VectorICLRegressor(lm, shots=2, training=QUICK, levels=10).fit(X.astype(float), X.sum(1))
    with pytest.warns(UserWarning, match="of 8 answers hold no number"):
        assert np.isnan(free.predict(X.astype(float))).any()
    with pytest.warns(UserWarning, match="no number"):
        assert np.isfinite(free.score(X.astype(float), X.sum(1)))
    with pytest.raises(UsageError, match=r"target 0\.5 is not a whole number"):
        VectorICLRegressor(lm).fit(X.astype(float), np.full(8, 0.5))


def test_text_is_generated_with_other_demonstrations_too(lm: LoadedModel) -> None:
    X, _ = data()
    fitted = VectorICLGenerator(lm, shots=2, max_new_tokens=3, training=QUICK).fit(X, ["red dog"] * 8)
    assert len(fitted.generate(X[:2])) == len(fitted.generate(X[:2], demos=([], []))) == 2
    assert fitted.generate(X[:2], demos=(X[:1], ["moon"])) == fitted.generate(X[:2], demos=(X[:1], ["moon"]))
    assert 0 <= fitted.score(X[:2], ["red", "dog"]) <= 1
    with pytest.raises(UsageError, match="target 1 is empty"):
        VectorICLGenerator(lm).fit(X[:2], ["red", " "])


def test_bad_vectors_are_refused_by_row(lm: LoadedModel) -> None:
    X, y = data()
    fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(X, y)
    with pytest.raises(NotFittedError):
        VectorICLClassifier(lm).predict(X)
    with pytest.raises(ValueError, match="row 3 holds NaN"):
        fitted.predict(np.where(np.arange(8)[:, None] == 3, np.nan, X))
    with pytest.raises(UsageError, match="two dimensions"):
        checked_vectors(np.zeros((2, 2, 2)))
    with pytest.warns(UserWarning, match="row 1 is a vector of zeros"):
        fitted.predict(np.vstack([X[:1], np.zeros((1, 4))]))
    assert len(fitted.predict(X[:1])) == 1


def test_bad_labels_shots_and_settings_are_refused(lm: LoadedModel) -> None:
    X, y = data()
    with pytest.raises(UsageError, match="two classes have the word 'cat'"):
        label_words(["cat", " Cat"], None)
    with pytest.raises(UsageError, match="class 'b' has no word"):
        label_words(["a", "b"], {"a": "x"})
    with pytest.warns(UserWarning, match="class 'cat' has 4 examples, fewer than the 9"):
        VectorICLClassifier(lm, shots=9, training=QUICK).fit(X, y)
    with pytest.raises(UsageError, match="fewer than the 9"):
        VectorICLClassifier(lm, shots=9, strict=True, training=QUICK).fit(X, y)
    X, y = data(120)
    with pytest.raises(UsageError, match=r"has 512 positions; at most \d+ shots fit"):
        VectorICLClassifier(lm, shots=60, tune=False).fit(X, y)
    cut = VectorICLClassifier(lm, shots=60, tune=False, truncate="demos").fit(X, y)
    assert 0 < len(cut.demonstrations_) < 120 and len(cut.predict(X[:2])) == 2
    with pytest.raises(UsageError, match="start is"):
        VectorICLClassifier(lm, start="warm").fit(X, y)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "setting",
    [{"training": {"steps": 3}}, {"pretraining": 3}, {"template": "{vector}"}, {"batch_size": 2.5},
     {"batch_size": "8"}, {"batch_size": 0}, {"batch_size": True}, {"shots": 2.5}, {"shots": "4"}, {"shots": -1},
     {"norm": "all"},
     {"demos": "some"}, {"attend": 3}, {"truncate": "cut"}, {"projector": "deep"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("kind", [VectorICLClassifier, VectorICLRegressor])
def test_a_setting_of_another_kind_is_one_sentence(lm: LoadedModel, kind: Any, setting: dict[str, Any]) -> None:
    X, y = data()
    targets = y if kind is VectorICLClassifier else np.arange(len(X)) % 10
    settings = {"shots": 1, "training": QUICK}
    kind(lm, **settings).fit(X, targets)
    with pytest.raises(UsageError, match=next(iter(setting))):
        kind(lm, **{**settings, **setting}).fit(X, targets)


def test_a_projector_knows_its_width() -> None:
    with pytest.raises(UsageError, match="vectors of 3 numbers"):
        Projector(3, 4)(torch.ones(2, 5))
    with pytest.raises(UsageError, match="norm is"):
        Projector(3, 4, norm="all")  # type: ignore[arg-type]


def test_a_wrong_table_is_one_sentence_from_every_estimator() -> None:
    model = load("tiny-llama")
    table, labels = np.random.default_rng(0).normal(size=(8, 3)), ["a", "b"] * 4
    fitted = VectorICLClassifier(model, shots=1, tune=False).fit(table, labels)
    holed = table.tolist()
    holed[5][1] = float("inf")
    for wrong, sentence in (
        (table[0], "Expected 2D array, got 1D array instead: vectors must have two dimensions"),
        (table[:, :2], "X has 2 features, but VectorICLClassifier is expecting 3 features as input: row 0"),
        (holed, "row 5 holds NaN or infinity"),
    ):
        with pytest.raises(UsageError, match=sentence) as told:
            fitted.predict(wrong)
        assert "\n" not in str(told.value)


def test_a_query_whose_own_demonstrations_do_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("tiny-llama")
    vectors, values = np.random.default_rng(0).normal(size=(12, 3)), [1.0] * 6 + [123456.0] * 6
    fitted = VectorICLRegressor(model, shots=4, tune=False, demos="per_query", random_state=0).fit(vectors, values)
    monkeypatch.setattr("armillary.models.LoadedModel.max_positions", 40)
    with pytest.raises(UsageError, match=r"the prompt needs \d+ tokens and tiny-llama has 40 positions"):
        fitted.predict(vectors)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "flipped": lambda X: X[::-1][::-1].copy()[::-1],
    "mirrored": lambda X: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "big-endian": lambda X: X.astype(">f8"),
    "list": lambda X: X.tolist(),
    "float16": lambda X: X.astype(np.float16),
    "integers": lambda X: X.astype(np.int16),
    "unsigned": lambda X: np.abs(X).astype(np.uint8),
    "mask": lambda X: X > 0,
    "objects": lambda X: X.astype(object),
}


@pytest.mark.parametrize("kind", [VectorICLClassifier, VectorICLRegressor, VectorICLGenerator])
def test_any_view_of_a_table_is_the_table(lm: LoadedModel, kind: Any) -> None:
    X, y = data()
    X = np.round(X * 4)  # which float16 and integers hold
    targets = {VectorICLRegressor: np.arange(8), VectorICLGenerator: ["red dog"] * 8}.get(kind, y)
    if kind is VectorICLRegressor:
        more: dict[str, Any] = {"levels": 10, "constrain": True}
    else:
        more = {} if kind is VectorICLClassifier else {"max_new_tokens": 2}
    fitted = kind(lm, shots=1, training=QUICK, **more).fit(X, targets)
    readonly = X.copy()
    readonly.flags.writeable = False
    for name, view in {**VIEWS, "read-only": lambda X: readonly}.items():
        given = view(X)
        plain = np.array(given, dtype=np.float64)  # a contiguous copy of the same numbers
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="row .* is a vector of zeros")
            assert fitted.predict(given).tolist() == fitted.predict(plain).tolist(), name
        if name in ("flipped", "mirrored", "Fortran", "read-only"):
            again = clone(fitted).fit(given, targets[::-1] if name == "flipped" else targets)
            assert again.predict(plain[:1]).shape == (1,), name


@pytest.mark.parametrize("demos", ["fixed", "per_query"])
def test_an_answer_does_not_depend_on_its_place_in_the_call(lm: LoadedModel, demos: Any) -> None:
    X, y = data(12)
    shared: dict[str, Any] = {"shots": 2, "training": QUICK, "demos": demos, "norm": "none"}
    classifier = VectorICLClassifier(lm, **shared).fit(X, y)
    whole = classifier.predict_proba(X)
    alone = np.concatenate([classifier.predict_proba(X[index : index + 1]) for index in range(12)])
    assert alone == pytest.approx(whole, abs=1e-9) and classifier.predict_proba(X[::-1])[::-1] == pytest.approx(whole)
    if demos == "per_query":
        shown = {tuple(classifier._demonstrations(torch.tensor(X), index)) for index in range(12)}
        assert len(shown) > 4, "other vectors have other demonstrations"
        assert torch.allclose(classifier.prompt_embeds(X[5:6])[0], classifier.prompt_embeds(X)[5])
    sampled = VectorICLGenerator(lm, max_new_tokens=4, temperature=2.0, **shared).fit(X, ["red dog"] * 12)
    texts = sampled.generate(X)
    assert texts == [sampled.generate(X[index : index + 1])[0] for index in range(12)] and len(set(texts)) > 6
    assert texts == sampled.generate(X[::-1])[::-1]


def test_defaults_are_those_of_the_command_line_and_train(lm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data()
    config, default = FitConfig(), VectorICLClassifier(lm)
    assert (default.norm, default.projector, default.start, default.shots) == (
        config.norm, config.projector, config.start, SHOTS["classify"]
    )  # fmt: skip
    problem = problem_of(VectorFile(vectors=X, targets=tuple(y.tolist())), config)
    assert estimator_of(config, problem, lm).training == fit_training(2 * SHOTS["classify"])
    assert VectorICLRegressor().shots == SHOTS["regress"] and VectorICLGenerator().shots == SHOTS["describe"]
    # No length of training that nobody asked for is a step or two, whatever the function.
    table, texts = torch.tensor(X), [" cat", " dog"] * 4
    assert training.STEPS == STEPS == config.steps == 60
    monkeypatch.setattr(training, "STEPS", 5)
    long, short = TrainingConfig(), TrainingConfig(epochs=1)
    for settings, steps in ((long, 5), (replace(PRETRAINING, seed=1), 5), (short, 1)):
        projector = Projector(4, lm.anatomy.embedding.embedding_dim, dtype=torch.float64)
        assert tune_projector(lm, projector, table, texts, SlotTemplate(), settings).steps == steps
    assert VectorICLClassifier(lm, shots=1).fit(X, y).curve_.steps == STEPS


def test_a_pickle_names_the_language_model(lm: LoadedModel, tmp_path: Path) -> None:
    X, y = data()
    wanted = None
    for given in ("tiny-llama", lm, (lm.model, lm.tokenizer)):
        fitted = VectorICLClassifier(given, shots=1, training=QUICK).fit(X, y)
        wanted = fitted.predict_proba(X)
        content = pickle.dumps(fitted)
        assert (len(content) < 60_000) == (not isinstance(given, tuple))
        again = pickle.loads(content)
        assert again.predict_proba(X) == pytest.approx(wanted, abs=0)
        assert pickle.loads(pickle.dumps(again)).predict_proba(X) == pytest.approx(wanted, abs=0)
        joblib.dump(again, tmp_path / "fitted.joblib")
        assert joblib.load(tmp_path / "fitted.joblib", mmap_mode="r").predict_proba(X) == pytest.approx(wanted, abs=0)
        assert copy.copy(fitted).lm_ is fitted.lm_
        assert copy.deepcopy(fitted).predict_proba(X) == pytest.approx(wanted, abs=0)
        assert clone(again).fit(X, y).predict_proba(X) == pytest.approx(wanted, abs=0)
        unfitted = pickle.loads(pickle.dumps(clone(fitted)))
        assert not hasattr(unfitted, "lm_") and unfitted.fit(X, y).predict_proba(X) == pytest.approx(wanted, abs=0)


def test_a_pickle_whose_model_is_another_by_now_is_refused(tmp_path: Path) -> None:
    from armillary.models.tiny_models import tiny

    X, y = data()
    for seed in (0, 1):
        other = tiny("llama", seed=seed)
        other.model.save_pretrained(tmp_path / "lm")
        other.tokenizer.save_pretrained(tmp_path / "lm")
        if not seed:
            content = pickle.dumps(VectorICLClassifier(str(tmp_path / "lm"), shots=1, training=QUICK).fit(X, y))
    with pytest.raises(ModelError, match="what that name opens now is another one"):
        pickle.loads(content).predict(X)


def test_units_of_columns_do_not_matter_where_one_drowns_the_others(lm: LoadedModel, tmp_path: Path) -> None:
    X, y = data()
    even = VectorICLClassifier(lm, shots=1, training=QUICK).fit(X, y)
    assert even.column_scale_ is None
    shares = []
    for unit in (1e3, 1e6):
        raw = X * np.array([1, unit, 1, 1])
        fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(raw, y)
        fitted.save_fitted(tmp_path / str(unit))
        shares.append(load_fitted(tmp_path / str(unit), lm).predict_proba(raw))
        assert (shares[-1] == fitted.predict_proba(raw)).all()
    assert shares[0] == pytest.approx(shares[1])
    assert VectorICLClassifier(lm, norm="none", shots=1, training=QUICK).fit(raw, y).column_scale_ is None


def test_tensors_of_any_precision_are_read_and_what_is_no_number_is_refused(lm: LoadedModel, tmp_path: Path) -> None:
    X, y = data()
    fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(torch.tensor(X, requires_grad=True), y)
    wanted = fitted.predict_proba(X)
    half = torch.tensor(X).bfloat16()
    assert fitted.predict_proba(half) == pytest.approx(fitted.predict_proba(half.double().numpy()), abs=0)
    by_encoder = VectorICLClassifier(lm, encoder=lambda rows: torch.tensor(np.array(rows), requires_grad=True))
    assert by_encoder.set_params(shots=1, training=QUICK).fit(list(X), y).predict_proba(list(X)) == pytest.approx(
        wanted
    )
    for wrong, words in (({"encoder": "all-minilm"}, "an encoder has encode"), ({"lm": None}, "a model is a name")):
        with pytest.raises(UsageError, match=words):
            clone(fitted).set_params(**wrong).fit(X, y)
    masked = np.ma.masked_array(X, mask=X > 1)
    for given, words in ((masked, "are masked"), (X.astype("M8[s]"), "dates and times are no numbers")):
        for act in (fitted.predict, lambda given: clone(fitted).fit(given, y)):
            with pytest.raises(UsageError, match=words):
                act(given)
    with pytest.raises(UsageError, match=r"row 1 has no target \(None\)"):
        VectorICLGenerator(lm).fit(X, ["a", None] * (len(X) // 2))
    fitted.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)  # as of a frame of pandas
    fitted.save_fitted(tmp_path)
    assert load_fitted(tmp_path, lm).feature_names_in_.tolist() == ["a", "b", "c", "d"]
