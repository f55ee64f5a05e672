"""Sampling: exact log-probabilities, the right distribution, and independence of batching."""

import math

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.models import KINDS, LoadedModel, tiny
from armillary.scoring import next_token_logits, sample, token_nll
from armillary.scoring.sampling import LIKELIEST, draw, nucleus_

PROMPTS = ["Paris is", "The color of grass is", "red"]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def rescored(loaded: LoadedModel, prompt: str, sequence: list[int]) -> float:
    row = loaded.tokenizer(prompt)["input_ids"]
    return -float(token_nll(loaded, torch.tensor([row + sequence]))[0, len(row) - 1 :].double().sum())


def test_log_probabilities_equal_rescoring(loaded: LoadedModel) -> None:
    drawn = sample(loaded, PROMPTS, num_samples=3, max_new_tokens=9, seed=3)
    assert drawn.prompt_index == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for index, sequence, logprob in zip(drawn.prompt_index, drawn.sequences, drawn.logprobs, strict=True):
        assert logprob == pytest.approx(rescored(loaded, PROMPTS[index], sequence), abs=1e-4 * len(sequence))
    assert len({tuple(sequence) for sequence in drawn.sequences}) == 9


def test_batches_do_not_change_what_is_drawn(loaded: LoadedModel) -> None:
    drawn = [sample(loaded, PROMPTS, num_samples=3, max_new_tokens=6, seed=5, batch_size=size) for size in (1, 4, 64)]
    assert drawn[0].sequences == drawn[1].sequences == drawn[2].sequences
    np.testing.assert_allclose(drawn[0].logprobs, drawn[2].logprobs, atol=1e-4)
    assert sample(loaded, PROMPTS, num_samples=3, max_new_tokens=6, seed=6).sequences != drawn[0].sequences


def test_rows_stop_at_an_end_token_which_counts() -> None:
    loaded = tiny()
    free = sample(loaded, PROMPTS[:1], num_samples=40, max_new_tokens=8, seed=0, stop_ids=[])
    ends = sorted({sequence[2] for sequence in free.sequences[:25]})
    held = sample(loaded, PROMPTS[:1], num_samples=40, max_new_tokens=8, seed=0, stop_ids=ends)
    for whole, cut, logprob in zip(free.sequences, held.sequences, held.logprobs, strict=True):
        length = next((place + 1 for place, token in enumerate(whole) if token in ends), 8)
        assert cut == whole[:length]
        assert logprob == pytest.approx(rescored(loaded, PROMPTS[0], cut), abs=1e-4 * length)
    assert min(map(len, held.sequences)) < 8


def test_the_models_own_end_token_stops() -> None:
    loaded = tiny()
    drawn = sample(loaded, PROMPTS[:1], num_samples=300, max_new_tokens=20, seed=2)
    ended = [sequence for sequence in drawn.sequences if 2 in sequence]
    assert ended
    assert all(sequence.index(2) == len(sequence) - 1 for sequence in ended)
    assert "<eos>" not in "".join(drawn.texts)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_first_tokens_follow_the_distribution(temperature: float) -> None:
    loaded = tiny()
    logits = next_token_logits(loaded, ["Paris is"])[0].astype(np.float64) / temperature
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    drawn = sample(
        loaded, ["Paris is"], num_samples=4000, max_new_tokens=1, temperature=temperature, seed=1, batch_size=4000
    )
    tokens = [sequence[0] for sequence in drawn.sequences]
    np.testing.assert_allclose(drawn.logprobs, np.log(probabilities[tokens]), atol=1e-5)
    top = np.argsort(-probabilities)[:5]
    shares = np.bincount(tokens, minlength=len(probabilities))[top] / len(tokens)
    spread = np.sqrt(probabilities[top] * (1 - probabilities[top]) / len(tokens))
    assert (np.abs(shares - probabilities[top]) < 5 * spread).all()


@pytest.mark.parametrize("size", [3, 256, 600, 1024])
def test_draw_is_the_inverse_of_the_cumulative_sum(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn((500, size), generator=generator) * 4
    uniform = torch.rand(500, generator=generator, dtype=torch.float64)
    exact = logits.double().softmax(-1)
    expected = (exact.cumsum(-1) > uniform[:, None]).double().argmax(-1)
    token, logprob = draw(logits.clone(), uniform)
    assert (token == expected).float().mean() > 0.99
    torch.testing.assert_close(logprob, exact.log().gather(1, token[:, None])[:, 0], atol=1e-5, rtol=0)


def test_draw_never_takes_what_has_no_weight() -> None:
    logits = torch.full((4, 300), -1e4)
    logits[:, [7, 280]] = 0.0
    edges = torch.tensor([0.0, 0.5, math.nextafter(0.5, 0), math.nextafter(1.0, 0)], dtype=torch.float64)
    token, logprob = draw(logits, edges)
    assert token.tolist() == [7, 280, 7, 280]
    torch.testing.assert_close(logprob, torch.full((4,), -math.log(2), dtype=torch.float64))


def test_no_prompts_start_from_the_first_token() -> None:
    loaded = tiny()
    drawn = sample(loaded, num_samples=2, max_new_tokens=4, seed=0)
    assert len(drawn.sequences) == 2
    ids = torch.tensor([[1, *drawn.sequences[0]]])
    assert drawn.logprobs[0] == pytest.approx(-float(token_nll(loaded, ids).sum()), abs=1e-4)


def test_global_generator_is_untouched() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    sample(tiny(), PROMPTS, max_new_tokens=2, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_input_is_named() -> None:
    loaded = tiny()
    for settings in ({"num_samples": 0}, {"max_new_tokens": 0}, {"temperature": 0.0}, {"batch_size": 0}):
        with pytest.raises(UsageError, match=next(iter(settings))):
            sample(loaded, PROMPTS, **{"max_new_tokens": 1, "seed": 0, **settings})
    with torch.no_grad():
        loaded.anatomy.embedding.weight[loaded.tokenizer(" is")["input_ids"][0]] = float("nan")
    with pytest.raises(NumericError, match="Paris is"):
        sample(loaded, ["Paris is"], max_new_tokens=1, seed=0)


@pytest.mark.parametrize("tokens", [7, LIKELIEST + 50])
def test_a_nucleus_is_the_fewest_tokens_that_reach_the_share(tokens: int) -> None:
    logits = torch.randn((4, tokens), generator=torch.Generator().manual_seed(0)) * 0.3
    kept = nucleus_(logits.clone(), 0.95, 0.7)
    for row, left in zip(logits, kept, strict=True):
        shares = torch.softmax(row.double() / 0.7, -1).numpy()
        order = np.argsort(-shares)
        fewest = int(np.searchsorted(np.cumsum(shares[order]), 0.95)) + 1
        assert {*np.flatnonzero(np.isfinite(left.numpy()))} == {*order[:fewest]}
    assert torch.equal(nucleus_(logits.clone(), 1e-9, 0.7).isfinite().sum(-1), torch.ones(4, dtype=torch.long))


def test_a_sample_stays_in_the_nucleus() -> None:
    loaded = tiny()
    greedy = sample(loaded, PROMPTS[:1], num_samples=3, max_new_tokens=5, seed=0, top_p=1e-6)
    assert len({tuple(sequence) for sequence in greedy.sequences}) == 1
    assert greedy.logprobs == [0.0] * 3  # the only token of each step
    with pytest.raises(UsageError, match="top_p must be above 0 and at most 1, got 0"):
        sample(loaded, PROMPTS[:1], max_new_tokens=5, seed=0, top_p=0.0)
