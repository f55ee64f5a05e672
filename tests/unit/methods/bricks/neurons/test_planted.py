"""Planted truth: a small Llama with hand-made functional neurons, which the analysis finds and the null doesn't."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from armillary.methods.bricks.neurons.ablation import ablate
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.methods.bricks.neurons.examples import firing_examples
from armillary.methods.bricks.neurons.profiling import Profile, profile
from armillary.methods.bricks.neurons.scores import NullScores, functional_scores, null_scores
from armillary.methods.bricks.neurons.sets import magnitude_matched, overlaps, random_like, specialised
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, tiny
from armillary.models.tiny_models import CITIES, COLOURS, LANGUAGES, PLAIN

TOPICS = {"cities": CITIES.split()[:24], "colours": COLOURS.split()[:12], "languages": LANGUAGES.split()[:24]}
HIDDEN, LAYERS, WIDTH, PLANTED = 64, 2, 160, 8
SHARE = PLANTED / WIDTH


@torch.no_grad()
def planted() -> tuple[LoadedModel, dict[str, Index]]:
    """A tiny Llama and, for each topic, its neurons.

    The embeddings of a topic's words share a direction; the topic's neurons, 8 of 160 in each layer, read it in gate
    and up, and write what makes the topic's words likelier. No other neuron sees the directions. Attention is quiet.
    """
    loaded = tiny("llama", hidden=HIDDEN, intermediate=WIDTH, layers=LAYERS, settings={"tie_word_embeddings": False})
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(HIDDEN, 2 * len(TOPICS), generator=generator)).Q.T
    read, write = axes[: len(TOPICS)], axes[len(TOPICS) :]
    embedding, head = loaded.anatomy.embedding.weight, loaded.anatomy.head.weight
    embedding -= embedding @ axes.T @ axes
    truth = {name: {} for name in TOPICS}
    for number, words in enumerate(TOPICS.values()):
        ids = loaded.tokenizer.convert_tokens_to_ids([f"Ġ{word}" for word in words])
        embedding[ids] += 2 * read[number]
        head[ids] += write[number]
    for index, layer in enumerate(loaded.anatomy.layers):
        layer.self_attn.o_proj.weight *= 0.02
        layer.post_attention_layernorm.weight.fill_(1)
        gate, up, down = (getattr(layer.mlp, name).weight for name in ("gate_proj", "up_proj", "down_proj"))
        gate -= gate @ axes.T @ axes
        up -= up @ axes.T @ axes
        down -= axes.T @ (axes @ down)
        order = torch.randperm(WIDTH, generator=generator)
        for number, name in enumerate(TOPICS):
            chosen = order[number * PLANTED : (number + 1) * PLANTED]
            gate[chosen] = up[chosen] = read[number] + 0.01 * torch.randn(PLANTED, HIDDEN, generator=generator)
            down[:, chosen] = 0.01 * write[number][:, None]
            truth[name][index] = np.sort(chosen.numpy())
    return loaded, {name: Index(neurons) for name, neurons in truth.items()}


def texts(seed: int, count: int = 40) -> dict[str, list[str]]:
    """Twelve words each: a third of the topic, the rest from what all texts share."""
    generator = np.random.default_rng(seed)
    common = PLAIN.split()[:60]

    def text(words: list[str]) -> str:
        mixed = [*generator.choice(words, 4), *generator.choice(common, 8)]
        return " " + " ".join(generator.permutation(mixed))

    return {name: [text(words) for _ in range(count)] for name, words in TOPICS.items()}


def agreement(result: Index, true: Index) -> tuple[float, float]:
    """Precision and recall."""
    common = (result.mask(LAYERS, WIDTH) & true.mask(LAYERS, WIDTH)).sum()
    return common / result.size, common / true.size


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LoadedModel, dict[str, Index], Profile, NullScores]]:
    loaded, truth = planted()
    seen = profile(loaded, texts(0), ProfileConfig(max_tokens=32))
    (null,) = null_scores(seen, permutations=300)
    yield loaded, truth, seen, null


World = tuple[LoadedModel, dict[str, Index], Profile, NullScores]


@pytest.mark.parametrize("relative", [False, True])
def test_planted_neurons_are_found(world: World, relative: bool) -> None:
    _, truth, seen, null = world
    scores = functional_scores(seen, relative=relative)
    for name, true in truth.items():
        precision, recall = agreement(specialised(scores.of(name), SHARE), true)
        assert precision > 0.95 and recall > 0.95
        assert agreement(specialised(scores.of(name), SHARE, scope="global"), true)[0] > 0.95
        if not relative:
            assert scores.beating(name, null).estimate == 1
            assert scores.of(name)[true.mask(LAYERS, WIDTH)].min() > null.quantile().max()


def test_shuffled_labels_find_nothing(world: World) -> None:
    _, truth, seen, null = world
    precisions, beaten = [], []
    for seed in range(10):
        labels = np.random.default_rng(100 + seed).permutation(seen.labels_N)
        scores = functional_scores(seen.relabelled(labels))
        for name, true in truth.items():
            precisions.append(agreement(specialised(scores.of(name), SHARE), true)[0])
            beaten.append(scores.beating(name, null).estimate)
    assert np.mean(precisions) < 0.2 and np.mean(beaten) < 0.05


def test_found_on_one_half_they_hold_on_the_other(world: World) -> None:
    loaded, truth, seen, _ = world
    other = functional_scores(profile(loaded, texts(1), ProfileConfig(max_tokens=32)))
    scores = functional_scores(seen)
    for name in truth:
        assert scores.best_held_out(name, other).min() > 0.95


def test_switching_them_off_hurts_their_topic_alone(world: World) -> None:
    loaded, truth, seen, _ = world
    scores = functional_scores(seen)
    sets = {name: specialised(scores.of(name), SHARE) for name in truth}
    controls = {f"random {s}": random_like(sets["cities"], WIDTH, seed=s) for s in range(2)}
    matched = {f"matched {name}": magnitude_matched(sets[name], seen.magnitude(name), seed=0) for name in truth}
    table = ablate(loaded, {**sets, **controls, **matched}, texts(2))
    for name in truth:
        assert table.own_against_others(name, name).lower > 0
        assert table.own_against_controls(name, name, list(controls)).lower > 0
        assert table.own_against_controls(name, name, [f"matched {name}"]).lower > 0
    pairs = overlaps(sets, width=WIDTH)
    assert len(pairs) == 3 and all(pair.share.estimate == 0 < pair.expected for pair in pairs.values())


def test_their_examples_peak_at_words_of_the_topic(world: World) -> None:
    loaded, truth, _, _ = world
    read = texts(3)
    every = [text for rows in read.values() for text in rows]
    for number, (name, true) in enumerate(truth.items()):
        for neuron in firing_examples(loaded, every, true, top=3):
            for example in neuron.examples:
                assert example.text // 40 == number
                assert example.tokens[example.peak].strip() in TOPICS[name]
