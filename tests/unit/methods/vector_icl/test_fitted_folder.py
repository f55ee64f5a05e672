"""A fitted estimator on the disk and back: equal predictions, and refusal of what does not belong to it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from armillary.errors import ModelError, StorageError, UsageError
from armillary.methods.vector_icl import load_fitted
from armillary.methods.vector_icl.config import SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.estimators import VectorICLClassifier, VectorICLGenerator, VectorICLRegressor
from armillary.methods.vector_icl.projector import WEIGHTS, Projector
from armillary.methods.vector_icl.saved_estimator import STATE, TABLE
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load

QUICK = TrainingConfig(steps=1, batch_size=4, pack=(2, 4))
X = np.random.RandomState(0).randn(12, 4)
NEW = np.random.RandomState(1).randn(5, 4)
NAMES = np.array(["cat", "dog", "milk"])[np.arange(12) % 3]


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    return load("tiny-llama", device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"calibrate": True, "average": True, "norm": "match", "start": "ridge"},
        {"demos": "per_query", "random_state": 3},
        {"label_mode": "episodic", "projector": "mlp"},
        {"words": {"cat": "red", "dog": "green", "milk": "blue", "more": "x"}},
        {"template": SlotTemplate(("<", "|", "> is"), separator=";", bos=False)},
        {"shots": 0},
    ],
)
def test_a_classifier_comes_back_bit_for_bit(settings: dict[str, Any], lm: LoadedModel, tmp_path: Path) -> None:
    fitted = VectorICLClassifier(lm, **{"shots": 2, "training": QUICK, **settings}).fit(X, NAMES)
    fitted.save_fitted(tmp_path)
    back = load_fitted(tmp_path, lm=lm)
    assert isinstance(back, VectorICLClassifier)
    assert (back.predict_proba(NEW) == fitted.predict_proba(NEW)).all()
    assert back.predict(NEW).tolist() == fitted.predict(NEW).tolist() and back.classes_.dtype == fitted.classes_.dtype
    kept = {name: value for name, value in back.get_params().items() if name not in ("lm", "words")}
    assert kept == {name: value for name, value in fitted.get_params().items() if name not in ("lm", "words")}
    with pytest.raises(ValueError, match="3 features"):
        back.predict(NEW[:, :3])


def test_only_demonstrations_are_kept_unless_more_are_needed(lm: LoadedModel, tmp_path: Path) -> None:
    rows = {}
    for demos in ("fixed", "per_query"):
        VectorICLClassifier(lm, shots=1, demos=demos, training=QUICK).fit(X, NAMES).save_fitted(tmp_path)
        with np.load(tmp_path / TABLE, allow_pickle=False) as arrays:
            rows[demos] = len(arrays["vectors"])
    assert rows == {"fixed": 3, "per_query": 12}


@pytest.mark.parametrize("classes", [np.array([3, 7]), np.array([True, False]), np.array(["x", "y"], dtype=object)])
def test_classes_keep_their_kind(classes: Any, lm: LoadedModel, tmp_path: Path) -> None:
    fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(X, classes[np.arange(12) % 2])
    fitted.save_fitted(tmp_path)
    back = load_fitted(tmp_path, lm).predict(NEW)
    assert back.dtype == fitted.classes_.dtype and back.tolist() == fitted.predict(NEW).tolist()


@pytest.mark.filterwarnings("ignore:.*hold no number")
def test_numbers_and_texts_come_back(lm: LoadedModel, tmp_path: Path) -> None:
    values = VectorICLRegressor(lm, shots=4, levels=10, constrain=True, training=QUICK).fit(X, X[:, 0])
    values.save_fitted(tmp_path / "numbers")
    np.testing.assert_array_equal(load_fitted(tmp_path / "numbers", lm).predict(NEW), values.predict(NEW))
    assert load_fitted(tmp_path / "numbers", lm).score(X, X[:, 0]) == values.score(X, X[:, 0])
    texts = VectorICLGenerator(lm, shots=2, max_new_tokens=4, temperature=0.7, training=QUICK).fit(X, NAMES)
    texts.save_fitted(tmp_path / "texts")
    back = load_fitted(tmp_path / "texts", lm)
    assert isinstance(back, VectorICLGenerator) and back.generate(NEW) == texts.generate(NEW)


def test_the_model_is_opened_by_its_name(tmp_path: Path) -> None:
    lm = load("tiny-llama", dtype="float64", device="cpu")
    fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(X, NAMES)
    fitted.save_fitted(tmp_path)
    assert (load_fitted(tmp_path).predict_proba(NEW) == fitted.predict_proba(NEW)).all()


def test_a_ready_projector_and_an_encoder(lm: LoadedModel, tmp_path: Path) -> None:
    def doubled(inputs: list[Any]) -> Any:
        return 2 * np.array(inputs)

    ready = Projector(4, lm.anatomy.embedding.embedding_dim)
    fitted = VectorICLClassifier(lm, encoder=doubled, projector=ready, tune=False, shots=1).fit(X, NAMES)
    fitted.save_fitted(tmp_path)
    back = load_fitted(tmp_path, lm, encoder=doubled)
    assert back.predict(NEW).tolist() == fitted.predict(NEW).tolist() and isinstance(back.projector, Projector)
    with pytest.raises(UsageError, match="trained on vectors of doubled"):
        load_fitted(tmp_path, lm)


def test_what_does_not_belong_is_refused(lm: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        VectorICLClassifier(lm).save_fitted(tmp_path)
    with pytest.raises(StorageError, match="holds no fitted estimator"):
        load_fitted(tmp_path, lm)
    fitted = VectorICLClassifier(lm, shots=1, training=QUICK).fit(X, NAMES)
    fitted.save_fitted(tmp_path)
    with pytest.raises(ModelError, match="was trained for tiny-llama"):
        load_fitted(tmp_path, "tiny-qwen3")
    whole = {name: (tmp_path / name).read_bytes() for name in (STATE, TABLE, WEIGHTS)}
    for name, damage in ((TABLE, whole[TABLE][:-9]), (WEIGHTS, whole[WEIGHTS] + b"\0")):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(StorageError, match="files don't belong together"):
            load_fitted(tmp_path, lm)
        (tmp_path / name).write_bytes(whole[name])
    kept = json.loads(whole[STATE])
    for told in ({**kept, "version": 99}, {name: value for name, value in kept.items() if name != "model"}, [kept]):
        (tmp_path / STATE).write_text(json.dumps(told))
        with pytest.raises(StorageError, match="not of version 1"):
            load_fitted(tmp_path, lm)
