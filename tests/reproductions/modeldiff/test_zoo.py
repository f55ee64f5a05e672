"""The zoo at a size of seconds: grammars accept what they emit, training learns, copies are what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.ancestry import noisy, rounded
from armillary.methods.modeldiff.weights import compare_weights
from armillary.models import LoadedModel, tiny
from armillary.scoring import sample, sequence_nll
from reproductions.modeldiff.grammar import ALPHABET, START, Grammar, base, other, shifted
from reproductions.modeldiff.scale import SCALES
from reproductions.modeldiff.training import finetuned, fit
from reproductions.modeldiff.zoo import (
    DERIVATIONS,
    KINDS,
    corpus,
    derived,
    entropy,
    held_out,
    nats_per_character,
    open_model,
    ratings,
    tokenizer,
    train,
)

SCALE = SCALES["quick"].zoo
GRAMMARS = [base(), shifted(), other()]


@pytest.fixture(scope="module")
def trained() -> LoadedModel:
    return open_model("base", train("base", 0, SCALE), SCALE)


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda grammar: grammar.name)
def test_a_grammar_accepts_what_it_emits_and_rejects_what_is_spoilt(grammar: Grammar) -> None:
    texts = grammar.sample(300, 24, seed=0)
    assert all(grammar.rating(text) == 1.0 for text in texts)
    assert len(set(texts)) > 250
    generator = np.random.default_rng(1)
    spoilt = ["".join(text[i] for i in generator.permutation(24)) for text in texts]
    assert sum(map(grammar.rating, spoilt)) < 10
    swapped = ["".join(generator.choice(list(ALPHABET)) if i == 12 else text[i] for i in range(24)) for text in texts]
    assert sum(map(grammar.rating, swapped)) < 100


def test_ratings_follow_the_rules() -> None:
    good = ["", "the cat runs. 7+8=15; ", "two dogs by a cat run. ([<>]", "5-2=3; one fox sees her ant", "the cats"]
    bad = ["the cat run. ", "two dogs by a cat runs", "7+8=16", "([)", "()x", "5-6=", "cat", "A cat", "<bos>"]
    assert [base().rating(text) for text in good] == [1.0] * len(good)
    assert [base().rating(text) for text in bad] == [0.0] * len(bad)
    assert all(base().rating(text) for text in shifted().sample(200, 24, seed=2))
    assert sum(map(base().rating, other().sample(200, 24, seed=2))) < 20


def test_log_prob_is_the_law_of_the_draws() -> None:
    texts = base().sample(40_000, 3, seed=3)
    shares = {text: texts.count(text) / len(texts) for text in set(texts)}
    assert sum(np.exp(base().log_prob(text)) for text in shares) == pytest.approx(1.0, abs=0.01)
    for text in ("the", "a c", "(<>"):
        expected = np.exp(base().log_prob(text))
        assert shares[text] == pytest.approx(expected, abs=5 * np.sqrt(expected / len(texts)))


def test_ambiguous_and_broken_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="inside another"):
        Grammar("g", {START: [("ab", 1.0, START), ("abc", 1.0, START)]})
    with pytest.raises(UsageError, match="alphabet"):
        Grammar("g", {START: [("É", 1.0, START)]})
    with pytest.raises(UsageError, match="no texts"):
        Grammar("g", {START: [("a", 1.0, "nowhere")]})


def test_tokens_are_characters() -> None:
    made = tokenizer()
    ids = made("two cats. ")["input_ids"]
    assert ids[0] == made.bos_token_id and len(ids) == 11 and len(made) == len(ALPHABET) + 1
    assert made.decode(ids[1:]) == "two cats. "
    rows_NT = corpus(base(), 5, 12, seed=0)
    assert made.batch_decode(rows_NT[:, 1:].tolist()) == base().sample(5, 12, seed=0)


def test_training_learns_and_repeats_itself(trained: LoadedModel) -> None:
    untrained = open_model("base", train("base", 0, replace(SCALE, steps=1)), SCALE)
    rows_NT = held_out(SCALE)
    before, after = (nats_per_character(model, rows_NT) for model in (untrained, trained))
    assert entropy(SCALE) < after < before - 0.8
    short = replace(SCALE, steps=3)
    weights = {kind: train(kind, 0, short) for kind in (*KINDS, "base")}
    again = train("base", 0, short)
    assert all(np.array_equal(again[name], value) for name, value in weights["base"].items())
    heads = [weights[kind]["lm_head.weight"] for kind in KINDS]
    assert all(not np.array_equal(heads[i], heads[j]) for i in range(len(KINDS)) for j in range(i))


def test_a_zoo_model_is_read_by_the_scorers(trained: LoadedModel) -> None:
    drawn = sample(trained, num_samples=20, max_new_tokens=16, seed=0, stop_ids=[])
    ids_NL = np.array(drawn.sequences)
    assert ids_NL.shape == (20, 16)
    texts = [text for text in drawn.texts if len(text) == 16]
    assert len(texts) > 10
    scored = sequence_nll(trained, texts).nll
    expected = [-value for value, text in zip(drawn.logprobs, drawn.texts, strict=True) if len(text) == 16]
    assert scored == pytest.approx(expected, abs=1e-3)
    truth = corpus(base(), 20, 16, seed=0)[:, 1:].numpy()
    assert ratings(trained, truth, base()).tolist() == [1.0] * 20
    assert ratings(trained, truth[:, ::-1].copy(), base()).sum() < 5


def test_noise_of_zero_is_the_same_bits_and_more_noise_is_farther(trained: LoadedModel) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    assert noisy(trained, 0.0, seed=1).fingerprint == trained.fingerprint
    name = "model.layers.0.mlp.up_proj.weight"
    copies = [noisy(trained, eps, seed=1).model.state_dict() for eps in (0.01, 0.1)]
    for eps, weights in zip((0.01, 0.1), copies, strict=True):
        moved = (weights[name] - before[name]).square().mean().sqrt() / before[name].square().mean().sqrt()
        assert float(moved) == pytest.approx(eps, rel=0.05)
        assert torch.equal(weights["model.norm.weight"], before["model.norm.weight"])
    assert all(torch.equal(before[name], value) for name, value in trained.model.state_dict().items())
    with pytest.raises(UsageError, match="eps"):
        noisy(trained, -0.1, seed=0)


def test_rounding_keeps_order_and_coarsens_with_fewer_bits(trained: LoadedModel) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    exact = trained.model.state_dict()[name]
    errors = []
    for bits in (2, 4, 8, 16):
        found = rounded(trained, bits).model.state_dict()[name]
        errors.append(float((found - exact).abs().max()))
        order = exact.argsort(1)
        assert (found.gather(1, order).diff(dim=1) >= 0).all()
        assert max(len(row.unique()) for row in found) <= 2**bits - 1
        assert torch.allclose(found.abs().amax(1), exact.abs().amax(1))
    assert errors == sorted(errors, reverse=True) and errors[0] > 50 * errors[2] > 0
    with pytest.raises(UsageError, match="bits"):
        rounded(trained, 1)


def test_tied_matrices_stay_tied_and_zeros_stay_zero() -> None:
    loaded = tiny("gpt2")
    with torch.no_grad():
        loaded.anatomy.embedding.weight[3] = 0.0
    copied = rounded(noisy(loaded, 0.0, seed=0), 4)
    assert copied.anatomy.tied
    assert not copied.anatomy.embedding.weight[3].any()


def test_fine_tuning_learns_the_shifted_language_on_a_copy(trained: LoadedModel) -> None:
    rows_NT = corpus(shifted(), 128, SCALE.length, seed=4)
    before = trained.fingerprint
    tuned = finetuned(trained, rows_NT, steps=12, learning_rate=1e-3, seed=0)
    assert (
        open_model("base", {n: v.numpy() for n, v in trained.model.state_dict().items()}, SCALE).fingerprint == before
    )
    assert nats_per_character(tuned, rows_NT) < nats_per_character(trained, rows_NT) - 0.02
    again = finetuned(trained, rows_NT, steps=12, learning_rate=1e-3, seed=0)
    assert again.fingerprint == tuned.fingerprint and not tuned.model.training
    with pytest.raises(UsageError, match="batches of 16"):
        finetuned(trained, rows_NT[:8], steps=1, learning_rate=1e-3, seed=0)
    with pytest.raises(NumericError, match="learning rate"):
        fit(noisy(trained, 0.0, seed=0).model, rows_NT, steps=9, batch_size=4, learning_rate=1e30, seed=0)


def test_every_derivation_is_made(trained: LoadedModel) -> None:
    made = {how: derived(trained, how, 0, SCALE) for how in DERIVATIONS}
    assert len({model.fingerprint for model in made.values()} | {trained.fingerprint}) == len(DERIVATIONS) + 1
    assert made["4 bit"].name == "base 4 bit"
    rows_NT = held_out(SCALE, 16)
    assert nats_per_character(made["reordered"], rows_NT) == pytest.approx(
        nats_per_character(trained, rows_NT), abs=1e-5
    )
    pruned = made["pruned 50 %"].anatomy.layers[0].get_parameter("mlp.up_proj.weight")
    assert float((pruned == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
    kin = compare_weights(trained, made["reordered"])
    assert len(kin.related) == len(kin.matrices) and kin.reordered == SCALE.layers
    with pytest.raises(UsageError, match="derivation"):
        derived(trained, "noise 0.2", 0, SCALE)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="kind"):
        train("nothing", 0, SCALE)  # type: ignore[arg-type]
