"""Keys, cosines and thresholds against known directions; the base model's own states as an encoder."""

import numpy as np
import pytest
import torch

from armillary.activations import streaming
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.library.retrieval import MidLayerEncoder, make_keys, retrieve
from armillary.models import tiny
from stored import Keep

from ..bricks_toy import KINDS

TEXTS = ["The capital of France is Paris", "red blue green", "Berlin", "one two three four five six seven"]


def directions(texts: list[str]) -> np.ndarray:
    """An encoder with known directions: each text is "x y", its coordinates."""
    return np.array([[float(part) for part in text.split()] for text in texts])


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_encoder_is_the_mean_state_of_the_middle_layer(kind: str) -> None:
    loaded = tiny(kind, layers=3)
    result = MidLayerEncoder(loaded)(TEXTS)
    assert result.shape == (4, 32) and result.dtype == np.float32
    for text, row in zip(TEXTS, result, strict=True):
        keep = Keep()
        with streaming(loaded, "layer", keep), torch.inference_mode():
            loaded.model(**loaded.tokenizer(text, return_tensors="pt"))
        states = keep.values(1).double()
        expected = states[1:].mean(0) if len(states) > 1 else states[0]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
    assert not any(layer._forward_hooks for layer in loaded.anatomy.layers)


def test_a_background_is_subtracted_and_told_in_the_name() -> None:
    loaded = tiny()
    plain, centred = MidLayerEncoder(loaded), MidLayerEncoder(loaded, background=TEXTS[:2])
    np.testing.assert_allclose(centred(TEXTS), plain(TEXTS) - plain(TEXTS[:2]).mean(0), rtol=1e-5, atol=1e-6)
    assert plain.name != centred.name and loaded.fingerprint in plain.name
    with pytest.raises(UsageError, match="layers 0 to 1; got 7"):
        MidLayerEncoder(loaded, layer=7)


def test_one_key_is_the_unit_mean_of_unit_encodings() -> None:
    keys = make_keys(directions, ["10 0", "0 1"], name="plane")
    np.testing.assert_allclose(keys.values_KQ, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert keys.encoder == "plane" and keys.values_KQ.dtype == np.float32


def test_several_keys_are_the_centers_of_unlike_inputs() -> None:
    texts = ["10 1", "9 0", "11 -1", "0 3", "0.1 5", "-0.1 2"]
    keys = make_keys(directions, texts, name="plane", keys=2)
    ordered = keys.values_KQ[np.argsort(-keys.values_KQ[:, 0])]
    np.testing.assert_allclose(ordered, [[1, 0], [0, 1]], atol=0.02)
    # One mean lies between the two kinds and is near to neither.
    single = make_keys(directions, texts, name="plane").values_KQ
    for query in ("1 0", "0 1"):
        two = retrieve(directions, [query], keys.values_KQ, ["b", "b"])[0].best_score
        assert two > 0.999 > 0.8 > retrieve(directions, [query], single, ["b"])[0].best_score


def test_retrieval_ranks_weighs_and_refuses() -> None:
    keys = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    owners = ["east", "north", "west"]
    near, far = retrieve(directions, ["3 4", "0.1 -9"], keys, owners, k=2, threshold=0.5)
    assert [one.brick for one in near.chosen] == ["north", "east"]
    assert [one.score for one in near.chosen] == pytest.approx([0.8, 0.6])
    assert [one.weight for one in near.chosen] == [0.5, 0.5] and not near.none
    assert far.none and far.chosen == () and far.best_score == pytest.approx(0.1 / 9.0006, rel=1e-3)
    assert "0.500" in far.sentence and far.to_dict()["none"] is True
    warm = retrieve(directions, ["3 4"], keys, owners, k=3, threshold=-1.0, temperature=0.2)[0]
    raw = np.exp(np.array([0.8, 0.6, -0.6]) / 0.2)
    assert [one.weight for one in warm.chosen] == pytest.approx(list(raw / raw.sum()))
    # A brick of two keys scores by the nearer one and is chosen once.
    pair = retrieve(directions, ["-3 4"], keys, ["both", "north", "both"], k=3, threshold=-1.0)[0]
    assert [(one.brick, round(one.score, 6)) for one in pair.chosen] == [("north", 0.8), ("both", 0.6)]


def test_bad_retrieval_is_refused() -> None:
    keys = np.eye(2, dtype=np.float32)
    for settings, sentence in (
        ({"k": 0}, "k of 1 or more"),
        ({"threshold": 2.0}, "threshold is a cosine"),
        ({"temperature": 0.0}, "temperature above 0"),
    ):
        with pytest.raises(UsageError, match=sentence):
            retrieve(directions, ["1 0"], keys, ["a", "b"], **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="owner for each key"):
        retrieve(directions, ["1 0"], keys, ["a"])
    with pytest.raises(UsageError, match="gives 3 numbers, the keys have 2"):
        retrieve(directions, ["1 0 0"], keys, ["a", "b"])
    with pytest.raises(UsageError, match="no text"):
        retrieve(directions, [], keys, ["a", "b"])
    with pytest.raises(NumericError, match="no direction"):
        retrieve(directions, ["0 0"], keys, ["a", "b"])
    with pytest.raises(UsageError, match="1 to 4 keys"):
        make_keys(directions, ["1 0"] * 9, name="plane", keys=5)
    with pytest.raises(NumericError, match="no direction"):
        make_keys(directions, ["1 0", "-1 0"], name="plane")
