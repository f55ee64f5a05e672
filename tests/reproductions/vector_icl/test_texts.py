"""Row R1 at the quick scale on a tiny model: splits, losses behind slots."""

import numpy as np
import torch

from armillary.methods.vector_icl.prompts import text_ids
from reproductions.vector_icl.data.synthetic import hashed_words, synthetic_glosses, synthetic_molecules
from reproductions.vector_icl.scale import TOPICS
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.texts import (
    PAPER,
    WARM,
    Scored,
    derangement,
    gloss_split,
    gloss_vectors,
    is_test,
    pretrained_projector,
    slots_of,
    text_row,
)


def test_synthetic_glosses_depend_on_their_topic() -> None:
    glosses = synthetic_glosses()
    assert len({gloss.text for gloss in glosses}) == len(glosses) >= 120
    assert {gloss.topic for gloss in glosses} == set(TOPICS)
    assert all(6 <= len(gloss.text.split()) <= 10 for gloss in glosses)
    vectors = hashed_words([gloss.text for gloss in glosses])
    near = vectors @ vectors.T - 2 * np.eye(len(vectors))
    same = [glosses[i].topic == glosses[j].topic for i, j in enumerate(near.argmax(1))]
    assert np.mean(same) > 0.9
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_synthetic_molecules_of_one_caption_have_near_vectors() -> None:
    smiles, vectors, captions = synthetic_molecules(60)
    assert len(smiles) == len(captions) == len(vectors) == 60
    near = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + 9 * np.eye(60)
    assert np.mean([captions[i] == captions[j] for i, j in enumerate(near.argmin(1))]) > 0.7


def test_split_by_hash_whatever_the_seed(context: Context) -> None:
    train, held_out = gloss_split(context)
    assert (len(train), len(held_out)) == (context.scale.texts, context.scale.held_out_texts)
    assert all(is_test(gloss.text) for gloss in held_out) and not any(is_test(gloss.text) for gloss in train)
    share = np.mean([is_test(f"text {number}") for number in range(5000)])
    assert 0.18 < share < 0.22


def test_vectors_are_kept_by_name(context: Context) -> None:
    first = gloss_vectors(context, "some", ["a dog", "a king"])
    np.testing.assert_array_equal(first, hashed_words(["a dog", "a king"]))
    np.testing.assert_array_equal(first, gloss_vectors(context, "some", ["never", "looked at"]))


def test_derangement_moves_everything() -> None:
    for count in (2, 3, 17):
        order = derangement(count, 3)
        assert sorted(order) == list(range(count)) and all(place != other for place, other in enumerate(order))


def _by_hand(context: Context, ids: tuple[int, ...], slot: torch.Tensor | None) -> float:
    """Mean loss of the tokens behind ``<bos>`` and a slot, through the whole model."""
    embed = context.loaded.model.get_input_embeddings()
    before = [embed(torch.tensor([context.loaded.tokenizer.bos_token_id]))]
    before += [] if slot is None else [slot[None]]
    embeds = torch.cat([*before, embed(torch.tensor(ids))])[None]
    logits = context.loaded.model(inputs_embeds=embeds).logits[0, len(before) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids)))


@torch.no_grad()
def test_losses_are_the_models_own(context: Context) -> None:
    texts = ["a king that has a queen", "the dog lives in a house", "a river"]
    scored = Scored(context, texts)
    slots = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    ids = [text_ids(context.loaded, text) for text in texts]
    wanted = {
        "true": [_by_hand(context, row, slot) for row, slot in zip(ids, slots, strict=True)],
        "shuffled": [_by_hand(context, row, slots[other]) for row, other in zip(ids, scored.others, strict=True)],
    }
    for name, found in scored.both(slots).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5)
    np.testing.assert_allclose(scored.alone(None), [_by_hand(context, row, None) for row in ids], rtol=1e-5)


def test_row_of_texts(context: Context) -> None:
    row = text_row(context)
    count = context.scale.held_out_texts
    assert set(row.nll) == {PAPER, WARM, f"untrained {PAPER}", f"untrained {WARM}", "soft prompt"}
    assert all(len(values) == count for slots in row.nll.values() for values in slots.values())
    assert len(row.none) == count
    assert row.nll[WARM]["true"] != row.nll[f"untrained {WARM}"]["true"]
    steps = context.scale.pretraining.steps
    assert {name: len(losses) for name, losses in row.losses.items()} == {PAPER: steps, WARM: 4, "soft prompt": 4}
    held_out = [gloss.text for gloss in gloss_split(context)[1]]
    slots = slots_of(pretrained_projector(context), hashed_words(held_out))
    np.testing.assert_allclose(Scored(context, held_out).alone(slots), row.nll[WARM]["true"], rtol=1e-5)
