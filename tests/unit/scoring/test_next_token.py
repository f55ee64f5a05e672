"""Next-token logits and branches against transformers' own logits, one prompt at a time."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.models import KINDS, LoadedModel, tiny
from armillary.scoring import branch_logits, next_token_logits
from armillary.scoring.kv_cache import is_cacheable, token_tree

STEMS = ["Paris", "The color of grass", "red blue green", "x", "Berlin is not", "Rome "]
ENDINGS = [" lives in the city of", " lives in the country of", " speaks the language of", "", "s", " lives in"]
COLUMNS = [[5, 9, 1], [7], [300, 4], [0, 1, 2, 3], [11], [12, 3]]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    # A window shorter than the prompts, so that a wrong sliding mask shows.
    settings = {"sliding_window": 4} if request.param.startswith("gemma") else {}
    return tiny(request.param, settings=settings)


@torch.no_grad()
def own_logits(loaded: LoadedModel, prompt: str) -> np.ndarray:
    ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
    return loaded.model(input_ids=ids).logits[0, -1].numpy()


def test_equals_the_models_own_logits(loaded: LoadedModel) -> None:
    expected = np.stack([own_logits(loaded, stem) for stem in STEMS])
    np.testing.assert_allclose(next_token_logits(loaded, STEMS), expected, atol=1e-5, rtol=0)
    chosen = next_token_logits(loaded, STEMS, [40, 3, 3], batch_tokens=4)
    np.testing.assert_allclose(chosen, expected[:, [40, 3, 3]], atol=1e-5, rtol=0)


def test_branches_equal_whole_prompts(loaded: LoadedModel) -> None:
    found = branch_logits(loaded, STEMS, ENDINGS, COLUMNS, batch_size=2, log_probabilities=True)
    plain = branch_logits(loaded, STEMS, ENDINGS, COLUMNS)
    for ending, columns, branch, logits in zip(ENDINGS, COLUMNS, found, plain, strict=True):
        expected = np.stack([own_logits(loaded, stem + ending) for stem in STEMS])
        np.testing.assert_allclose(logits, expected[:, columns], atol=1e-5, rtol=0)
        sums = np.log(np.exp(expected.astype(np.float64)).sum(axis=1))
        np.testing.assert_allclose(branch, expected[:, columns] - sums[:, None], atol=1e-5, rtol=0)


def test_branches_compute_shared_tokens_once() -> None:
    loaded = tiny()
    assert is_cacheable(loaded)  # checked once a model, here before counting
    seen: list[int] = []

    def count(_module: object, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(kwargs["input_ids"].numel())

    stems, endings = ["Paris", "Berlin", "Rome"], [" lives in the city of", " lives in the country of"]
    handle = loaded.anatomy.base.register_forward_pre_hook(count, with_kwargs=True)
    try:
        branch_logits(loaded, stems, endings, [[1], [1]])
    finally:
        handle.remove()
    tokens = [loaded.tokenizer(stems[0] + ending)["input_ids"] for ending in endings]
    shared = next(i for i, (a, b) in enumerate(zip(*tokens, strict=False)) if a != b)
    widths = {stem: len(loaded.tokenizer(stem)["input_ids"]) for stem in stems}
    base = len(tokens[0]) - shared + len(tokens[1])
    assert sum(seen) == sum(base + width - widths["Paris"] for width in widths.values())


def test_prompt_that_does_not_split_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny()
    # " Par" + "is" is one token joined and several apart.
    stems, endings, columns = ["in Par", "in Berlin", "red"], ["is", " is"], [[3, 4], [5]]
    joined, stem = (loaded.tokenizer(text)["input_ids"] for text in ("in Paris", "in Par"))
    assert joined[: len(stem)] != stem
    found = branch_logits(loaded, stems, endings, columns)
    for ending, chosen, logits in zip(endings, columns, found, strict=True):
        expected = np.stack([own_logits(loaded, text + ending)[chosen] for text in stems])
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)


def test_branches_do_not_depend_on_how_stems_are_chunked() -> None:
    loaded = tiny()
    together = branch_logits(loaded, STEMS, ENDINGS, COLUMNS)
    again = branch_logits(loaded, STEMS, ENDINGS, COLUMNS)
    apart = [branch_logits(loaded, [stem], ENDINGS, COLUMNS) for stem in STEMS]
    for index in range(len(ENDINGS)):
        np.testing.assert_array_equal(together[index], again[index])
        rows = np.concatenate([part[index] for part in apart])
        np.testing.assert_allclose(together[index], rows, atol=1e-5, rtol=0)


def test_no_stems_give_empty_tables() -> None:
    assert [table.shape for table in branch_logits(tiny(), [], ENDINGS[:2], COLUMNS[:2])] == [(0, 3), (0, 1)]
    assert next_token_logits(tiny(), [], [1, 2]).shape == (0, 2)


def test_token_tree_shares_what_is_shared() -> None:
    tree = token_tree({0: (1, 2, 3), 1: (1, 2, 4, 5), 2: (1,), 3: (1, 2, 4, 5)})
    assert (tree.run, tree.ends) == ((1,), (2,))
    (below,) = tree.branches
    assert (below.run, below.ends) == ((2,), ())
    assert [(branch.run, branch.ends) for branch in below.branches] == [((3,), (0,)), ((4, 5), (1, 3))]


def test_nan_names_the_prompt() -> None:
    loaded = tiny()
    token = loaded.tokenizer(" Berlin")["input_ids"][0]
    with torch.no_grad():
        loaded.anatomy.embedding.weight[token] = float("nan")
    with pytest.raises(NumericError, match="in Berlin"):
        next_token_logits(loaded, ["in Paris", "in Berlin"], [1])
    with pytest.raises(NumericError, match="in Berlin is"):
        branch_logits(loaded, ["in Paris", "in Berlin"], [" is"], [[1]])


def test_bad_input_is_named() -> None:
    loaded = tiny()
    with pytest.raises(UsageError, match="99999"):
        next_token_logits(loaded, ["a"], [99999])
    with pytest.raises(UsageError, match="0 tokens"):
        next_token_logits(loaded, [""])
    with pytest.raises(UsageError, match="512 positions"):
        next_token_logits(loaded, ["x" * 600])
    with pytest.raises(UsageError, match="2 endings came with 1"):
        branch_logits(loaded, ["a"], [" b", " c"], [[1]])
