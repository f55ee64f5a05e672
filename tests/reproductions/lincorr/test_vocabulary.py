"""The vocabulary block: its size, what it may change, and that it learns what it is taught."""

import json

import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr import resolve_words, vocabulary_subjects
from armillary.models import LoadedModel, tiny
from armillary.records.plain import plain
from reproductions.lincorr.vocabulary import VocabularyBlock, VocabularyConfig, vocabulary_feed_forward

PAIRS = [("Paris", "France"), ("London", "England"), ("Rome", "Italy")]
FAST = {"steps": 60, "other_tokens": 50, "test_names": 40, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny()


@pytest.fixture(scope="module")
def sides(loaded):
    source = resolve_words(loaded, ["Paris", "London", "Rome", "Oslo"])
    target = resolve_words(loaded, ["France", "England", "Italy", "Norway", "Spain"])
    return {"source": ("{} lives in the city of", source), "target": ("{} lives in the country of", target)}


@pytest.fixture(scope="module")
def names(loaded):
    return vocabulary_subjects(loaded, 150, seed=0)


def test_block_has_the_papers_shape():
    block = VocabularyBlock(24)
    assert sum(p.numel() for p in block.parameters()) == 2 * 24 * 96 + 96 + 24 + 24
    h = torch.randn(5, 24)
    torch.manual_seed(0)
    bare = VocabularyBlock(24, residual=False)
    kept = VocabularyBlock(24)
    kept.load_state_dict(bare.state_dict())
    inner = bare.write(torch.nn.functional.gelu(bare.read(h)))
    for z, found in ((inner, bare(h)), (inner + h, kept(h))):
        torch.testing.assert_close(found, z / (z.square().mean(-1, keepdim=True) + 1e-6).sqrt())


def test_embeddings_are_frozen_and_the_global_generator_is_untouched(loaded, names, sides):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    state = torch.random.get_rng_state()
    result = vocabulary_feed_forward(loaded, PAIRS, names, **sides, config=VocabularyConfig(**FAST))
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())
    assert all(p.grad is None for p in loaded.model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert result.parameters == 2 * 32 * 128 + 128 + 32 + 32
    assert result.accuracy.n == 40 and result.chance == pytest.approx(1 / 3)
    assert json.dumps(plain(result))


def test_same_seed_same_result(loaded, names, sides):
    first, second, third = (
        vocabulary_feed_forward(loaded, PAIRS, names, **sides, config=VocabularyConfig(**FAST, seed=seed))
        for seed in (0, 0, 1)
    )
    assert first == second and first.taught != third.taught


def test_embeddings_that_hold_the_mapping_compose_it(names):
    """Where France's row is Paris's plus a common direction, held-out names follow their city; shuffled ones don't."""
    loaded = tiny("gpt2", hidden=64, heads=4)
    words = [word for pair in PAIRS for word in pair]
    table = resolve_words(loaded, words)
    row = {word: table.entries[word][0] for word in words}
    with torch.no_grad():
        embedding = loaded.anatomy.embedding.weight
        embedding.mul_(5)
        common = torch.randn(64, generator=torch.Generator().manual_seed(0))
        for source, target in PAIRS:
            embedding[row[target]] = embedding[row[source]] + common
    sides = {
        "source": ("{} city", resolve_words(loaded, [s for s, _ in PAIRS])),
        "target": ("{} country", resolve_words(loaded, [t for _, t in PAIRS])),
    }
    settings = {"steps": 150, "other_tokens": 50, "test_names": 50, "learning_rate": 3e-3}
    true, shuffled = (
        vocabulary_feed_forward(loaded, PAIRS, names, **sides, config=VocabularyConfig(**settings, mapping=mapping))
        for mapping in ("true", "shuffled")
    )
    assert true.taught > 0.9
    assert true.accuracy.estimate > 0.8
    assert shuffled.accuracy.estimate < 0.5


def test_random_embeddings_are_another_network(loaded, names, sides):
    real, random = (
        vocabulary_feed_forward(loaded, PAIRS, names, **sides, config=VocabularyConfig(**FAST, embeddings=kind))
        for kind in ("pretrained", "random")
    )
    assert real.taught != random.taught


def test_refusals(loaded, names, sides):
    config = VocabularyConfig(**FAST)
    with pytest.raises(UsageError, match="80 different names"):
        vocabulary_feed_forward(loaded, PAIRS, names[:79], **sides, config=config)
    with pytest.raises(UsageError, match="at least 2 pairs"):
        vocabulary_feed_forward(loaded, PAIRS[:1], names, **sides, config=config)
    with pytest.raises(UsageError, match="'Atlantis' is not among"):
        vocabulary_feed_forward(loaded, [*PAIRS, ("Atlantis", "Spain")], names, **sides, config=config)
    with pytest.raises(UsageError, match="true or shuffled"):
        VocabularyConfig(mapping="wrong")
    with pytest.raises(UsageError, match="steps must be 1 or more"):
        VocabularyConfig(steps=0)
    with pytest.raises(NumericError, match="diverged"):
        diverging = VocabularyConfig(**{**FAST, "learning_rate": 1e30})
        vocabulary_feed_forward(loaded, PAIRS, names, **sides, config=diverging)
