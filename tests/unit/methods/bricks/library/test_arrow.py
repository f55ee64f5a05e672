"""Arrow: the direction a low-rank change answers most, and the bricks that an input fits by it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.arrow import arrow_prototypes, arrow_retrieve, arrow_scores
from armillary.methods.bricks.library.brick_library import BrickLibrary
from armillary.methods.bricks.library.retrieval import best_scored
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import LoadedModel, tiny

from ..bricks_toy import lora_brick


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny()


def test_arrow_prototypes_are_top_singular_vectors(loaded: LoadedModel) -> None:
    brick = lora_brick(loaded, 0, rank=3)
    for path, vector_I in arrow_prototypes(brick).items():
        expected = torch.linalg.svd(brick.payload.delta(path).double()).Vh[0]
        assert float((vector_I @ expected).abs()) == pytest.approx(1.0, abs=1e-9)
        # The power iteration of the source goes to the same place.
        a_RI, b_OR = (factor.double() for factor in brick.payload.factors[path])
        v = torch.ones(a_RI.shape[1], dtype=torch.float64)
        for _ in range(400):
            v = a_RI.T @ (b_OR.T @ (b_OR @ (a_RI @ v)))
            v /= v.norm()
        assert float((vector_I @ v).abs()) > 0.999
    with pytest.raises(UsageError, match="no low-rank change"):
        arrow_prototypes(Brick.of(loaded, Index({0: np.array([1])}), name="x"))


def test_arrow_scores_single_out_the_brick_that_answers_an_input(loaded: LoadedModel) -> None:
    path, text = "model.layers.1.mlp.up_proj", "red blue green"
    seen: list[torch.Tensor] = []
    hook = loaded.model.get_submodule(path).register_forward_pre_hook(lambda _m, args: seen.append(args[0][0, 1:]))
    with torch.no_grad():
        loaded.model(**loaded.tokenizer(text, return_tensors="pt"))
    hook.remove()
    x_NI = seen[0].double()
    direction = torch.linalg.svd(x_NI / x_NI.norm(dim=1, keepdim=True)).Vh
    towards = LowRank({path: (direction[:1].float(), torch.ones(48, 1))})
    away = LowRank({path: (direction[-1:].float(), torch.ones(48, 1))})
    bricks = [Brick.of(loaded, payload, name=name) for payload, name in ((away, "away"), (towards, "towards"))]
    result = arrow_scores(loaded, [text], bricks)
    expected = float(((x_NI @ direction[0]).abs() / x_NI.norm(dim=1)).mean())
    assert result.shape == (1, 2) and result[0, 1] == pytest.approx(expected, rel=1e-5)
    assert result[0, 0] < 0.01 < 0.3 < result[0, 1] <= 1


def test_weights_are_a_softmax_over_the_kept() -> None:
    names = ["a", "b", "c"]
    best = best_scored(np.array([1.0, 3.0, 2.0]), names, 2, 0.0, 1.0)
    assert [(row.brick, row.score) for row in best.chosen] == [("b", 3.0), ("c", 2.0)]
    expected = [1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1))]
    assert [row.weight for row in best.chosen] == pytest.approx(expected)


def test_a_library_is_searched_without_keys(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path / "library")
    with pytest.raises(UsageError, match="no low-rank brick"):
        library.search_by_arrow("red", loaded)
    bricks = [lora_brick(loaded, seed) for seed in range(3)]
    for brick in bricks:
        library.add(brick)
    library.add(Brick.of(loaded, Index({0: np.array([1])}), name="one neuron"))
    texts = ["red blue green", "The capital of France"]
    result = library.search_by_arrow(texts, loaded, k=3)
    scores = arrow_scores(loaded, texts, bricks)
    for retrieval, row in zip(result, scores, strict=True):
        by_id = {one.brick: one.score for one in retrieval.chosen}
        assert [by_id[brick.id] for brick in bricks] == pytest.approx(row.tolist())
        assert sum(one.weight for one in retrieval.chosen) == pytest.approx(1.0)
    assert library.search_by_arrow("red", loaded, threshold=1.0)[0].none
    with pytest.raises(UsageError, match="k is 1 to 3"):
        arrow_retrieve(loaded, ["red"], bricks, k=4)
    with pytest.raises(UsageError, match="base"):
        library.search_by_arrow("red", tiny("gpt2"))
