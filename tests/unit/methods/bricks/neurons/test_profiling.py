"""A streamed profile against stored activations in float64, on every kind of FFN; nothing depends on batching."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from armillary.activations import streaming
from armillary.activations.neurons import column_norms
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.methods.bricks.neurons.examples import firing_examples
from armillary.methods.bricks.neurons.profiling import Profile, firing, histogram, profile
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, tiny
from armillary.records.plain import plain
from stored import Keep

TEXTS = {
    "cities": ["Paris is a city of France", "London and Berlin and Rome are old and rich cities", "Oslo"],
    "colours": ["the grass is green and the sky is blue", "red blood", "gold", "black coal and white snow"],
}
CONFIG = ProfileConfig(detail_texts=2, bins=10)


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2", "opt", "qwen3"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def stored(loaded: LoadedModel, text: str) -> np.ndarray[Any, Any]:
    """Activations of one text without its first token, ``[L, T, M]`` float64."""
    keep = Keep()
    with torch.no_grad(), streaming(loaded, "ffn", keep):
        loaded.model(input_ids=torch.tensor([loaded.tokenizer(text)["input_ids"]]))
    layers = range(loaded.anatomy.num_layers)
    return torch.stack([keep.values(layer)[1:] for layer in layers]).double().numpy()


def test_profile_equals_stored_activations(loaded: LoadedModel) -> None:
    result = profile(loaded, TEXTS, CONFIG)
    kept = [stored(loaded, text) for text in chain(*TEXTS.values())]
    np.testing.assert_allclose(result.means_NLM, [np.abs(a).mean(1) for a in kept], rtol=2e-4, atol=1e-6)
    assert result.means_NLM.dtype == np.float32
    assert result.tokens_N.tolist() == [a.shape[1] for a in kept]
    assert result.labels_N.tolist() == [0, 0, 0, 1, 1, 1, 1]

    norms = np.stack([np.linalg.norm(columns(loaded, layer), axis=1) for layer in range(2)])
    np.testing.assert_allclose(result.norms_LM, norms, rtol=1e-6)
    for number, detail in enumerate(([0, 1], [3, 4])):
        fired = np.zeros((2, 48))
        for text in detail:
            sizes = (np.abs(kept[text]), np.abs(kept[text]) * norms[:, None])
            for indicator, size in enumerate(sizes):
                for layer in range(2):
                    share = size[layer] / size[layer].max(1, keepdims=True)
                    expected = np.histogram(share, bins=10, range=(0, 1))[0]
                    got = result.histogram_DILH[detail.index(text) + 2 * number, indicator, layer]
                    assert np.abs(got - expected).sum() <= 2  # values at an edge of a bin may fall to either side
            place_of = (-sizes[1]).argsort(-1).argsort(-1)
            fired += ((place_of < 9) & (sizes[1] > 0)).sum(1)  # a fifth of 48
        assert (result.firing_FLM[number] != fired).mean() < 0.02
        assert result.firing_tokens_F[number] == sum(kept[text].shape[1] for text in detail)


def columns(loaded: LoadedModel, layer: int) -> np.ndarray[Any, Any]:
    """What each neuron writes when its activation is 1, ``[M, D]``: found by running the write matrix."""
    write = loaded.anatomy.ffn_writes[layer]
    assert write is not None
    with torch.no_grad():
        nothing = write(torch.zeros(1, 48))
        result: np.ndarray[Any, Any] = (write(torch.eye(48)) - nothing).double().numpy()
    return result


def test_batching_and_chunks_change_nothing(loaded: LoadedModel) -> None:
    one = profile(loaded, TEXTS, CONFIG)
    for tokens_per_batch, chunk in ((1, 64), (10_000, 64), (40, 1), (40, 3)):
        settings = ProfileConfig(detail_texts=2, bins=10, tokens_per_batch=tokens_per_batch, chunk=chunk)
        other = profile(loaded, TEXTS, settings)
        np.testing.assert_allclose(other.means_NLM, one.means_NLM, rtol=2e-4, atol=1e-6)
        assert np.abs(other.histogram_DILH - one.histogram_DILH).sum() <= 8
        assert (other.firing_FLM == one.firing_FLM).mean() > 0.98
        assert (other.tokens_N == one.tokens_N).all() and (other.firing_tokens_F == one.firing_tokens_F).all()


def test_a_killed_profile_goes_on() -> None:
    loaded, held = tiny(), {}
    computed: list[str] = []

    def store(name: str, compute: Callable[[], Any]) -> Any:
        if name not in held:
            if len(computed) == 3:
                raise KeyboardInterrupt
            computed.append(name)
            held[name] = compute()
        return held[name]

    small = ProfileConfig(detail_texts=2, bins=10, chunk=2)
    with pytest.raises(KeyboardInterrupt):
        profile(loaded, TEXTS, small, store=store)
    computed.clear()
    resumed = profile(loaded, TEXTS, small, store=store)
    assert len(computed) == 1 and len(held) == 4  # two chunks of cities, two of colours
    assert (resumed.means_NLM == profile(loaded, TEXTS, small).means_NLM).all()
    # Other weights and other settings are other parts.
    computed.clear()
    profile(tiny(seed=1), {"cities": TEXTS["cities"][:2]}, small, store=store)
    profile(loaded, {"cities": TEXTS["cities"][:2]}, ProfileConfig(skip=0, chunk=2), store=store)
    assert len(computed) == 2


def test_the_model_is_left_as_it_was() -> None:
    loaded = tiny()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    profile(loaded, TEXTS, CONFIG)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules()]
    assert sum(hooks) == 0


def made(means_NLM: np.ndarray[Any, Any], labels_N: list[int], histogram: np.ndarray[Any, Any]) -> Profile:
    """A profile of given numbers."""
    layers, width = means_NLM.shape[1:]
    return Profile(
        model="made",
        fingerprint="0",
        config=ProfileConfig(bins=10),
        capabilities=("a", "b"),
        labels_N=np.array(labels_N),
        tokens_N=np.ones(len(means_NLM), np.int64),
        means_NLM=means_NLM.astype(np.float32),
        norms_LM=np.full((layers, width), 2.0),
        histogram_DILH=histogram,
        detail_labels_D=np.array(labels_N),
        firing_FLM=np.array([[[1, 0, 4]], [[5, 0, 0]]]),
        firing_tokens_F=np.array([4, 10]),
    )


def test_what_is_read_off_a_profile() -> None:
    means = np.array([[[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]], [[5.0, 6.0, 1.0]]])
    counts = np.zeros((3, 2, 1, 10), np.int64)
    counts[:, 0, 0, 1], counts[:, 0, 0, 9] = [8, 6, 4], 2
    counts[:, 1, 0, 2], counts[:, 1, 0, 0] = 5, 5
    result = made(means, [0, 0, 1], counts)
    np.testing.assert_allclose(result.layer(0, relative=True), [[0.5, 1, 1.5], [0, 0, 0], [1.25, 1.5, 0.25]])
    np.testing.assert_allclose(result.magnitude("a"), [[1, 2, 3]])
    np.testing.assert_allclose(result.magnitude(), [[5.5, 7, 2.5]])
    np.testing.assert_allclose(result.firing_share(), [[(0.25 + 0.5) / 2, 0, 0.5]])
    share = result.share_below(0.2, "activation")
    assert share.estimate == pytest.approx(18 / 24)
    assert share.low is not None and share.high is not None and 0.66 < share.low < 18 / 24 < share.high < 0.8
    assert result.share_below(0.2, "magnitude", layer=0).estimate == pytest.approx(0.5)
    with pytest.raises(UsageError, match="multiple of 1/10"):
        result.share_below(0.25)
    with pytest.raises(UsageError, match="maths"):
        result.magnitude("maths")
    with pytest.raises(UsageError, match="labels"):
        result.relabelled(np.array([0, 1, 2]))


def test_histogram_and_firing_at_the_ends() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0, 10.0], [0.0, 0.0, 0.0, 0.0]])
    assert histogram(x, 5).tolist() == [6, 1, 0, 0, 1]
    assert firing(x, 0.5).tolist() == [0, 0, 1, 1]  # a neuron that writes nothing doesn't fire
    assert firing(x, 0.01).tolist() == [0, 0, 0, 1]


def test_examples_are_the_largest_of_all_texts() -> None:
    loaded = tiny()
    texts = list(chain(*TEXTS.values()))
    kept = [stored(loaded, text) for text in texts]
    chosen = Index({0: np.array([3, 40]), 1: np.array([7])})
    for tokens_per_batch in (1, 10_000):
        result = firing_examples(loaded, texts, chosen, top=3, tokens_per_batch=tokens_per_batch)
        assert [(one.layer, one.neuron) for one in result] == [(0, 3), (0, 40), (1, 7)]
        for one in result:
            peaks = [np.abs(a[one.layer, :, one.neuron]).max() for a in kept]
            assert [example.text for example in one.examples] == np.argsort(peaks)[::-1][:3].tolist()
            for example in one.examples:
                values = kept[example.text][one.layer, :, one.neuron]
                np.testing.assert_allclose(example.values[1:], values, rtol=1e-3, atol=1e-5)
                assert example.peak == np.abs(values).argmax() + 1
                assert "".join(example.tokens) == texts[example.text]
    assert plain(result[0])["examples"][0]["text"] == result[0].examples[0].text


def test_bad_input_is_named() -> None:
    loaded = tiny()
    with pytest.raises(UsageError, match="at least one text"):
        profile(loaded, {"cities": []})
    with pytest.raises(UsageError, match="'x' has 1 tokens"):
        profile(loaded, {"cities": ["Paris is old", "x"]})
    with pytest.raises(UsageError, match="skip"):
        ProfileConfig(skip=128)
    with pytest.raises(UsageError, match="firing_share"):
        ProfileConfig(firing_share=1.0)
    with pytest.raises(UsageError, match="outside"):
        firing_examples(loaded, ["Paris is old"], Index({0: np.array([48])}))
    with torch.no_grad():
        loaded.anatomy.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericError, match="Paris is old"):
        profile(loaded, {"cities": ["Paris is old"]})


def test_norms_of_conv1d_are_of_columns() -> None:
    loaded = tiny("gpt2")
    write = loaded.anatomy.ffn_writes[0]
    assert write is not None and write.weight.shape == (48, 32)
    expected = [torch.linalg.vector_norm(write.weight[i]).item() for i in range(48)]
    np.testing.assert_allclose(column_norms(loaded)[0], expected, rtol=1e-6)
