"""What the trainer computes is what a plain loop over whole logits computes; its batches hold every row once."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from armillary.finetuning.text import training
from armillary.finetuning.text.config import TextConfig
from armillary.finetuning.text.rows import Encoding, TuningRow, encode_rows
from armillary.models import LoadedModel, load
from armillary.training import completions

TEXTS = ["one two three four", "a b", "the cat sat on the mat and slept", "x y z", "go"]


def encoded(loaded: LoadedModel) -> list[Encoding]:
    return encode_rows(loaded, [TuningRow(given="so then", learned=text) for text in TEXTS]).rows


def slow(loaded: LoadedModel, row: Encoding) -> torch.Tensor:
    """Nats of the row's learned tokens from the model's own logits, nothing padded."""
    ids = torch.tensor([row.ids])
    logits = loaded.model(ids).logits[0, row.given - 1 : -1].double()
    return functional.cross_entropy(logits, ids[0, row.given :], reduction="none")


def test_losses_are_those_of_the_whole_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load("tiny-llama")
    rows = encoded(loaded)
    wanted = [float(slow(loaded, row).detach().mean()) for row in rows]
    assert training.row_nats(loaded, rows) == pytest.approx(wanted, rel=1e-5)
    monkeypatch.setattr(completions, "_HEAD_AT_ONCE", 3)  # a few tokens at a time, logits made again for the gradient
    assert training.row_nats(loaded, rows) == pytest.approx(wanted, rel=1e-5)
    loaded.model.requires_grad_(True)
    weight = loaded.anatomy.embedding.weight
    completions.token_nats(loaded, completions.collated(rows)).mean().backward()
    assert weight.grad is not None
    ours, weight.grad = weight.grad, None
    torch.cat([slow(loaded, row) for row in rows]).mean().backward()
    torch.testing.assert_close(ours, weight.grad, rtol=1e-3, atol=1e-6)


def test_a_step_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    """One batch of all rows: AdamW at the rate of the warm-up's only step, after clipping."""
    config = TextConfig(
        rows="", model="tiny-llama", rank=0, steps=2, batch_size=5, learning_rate=1e-2, warmup=0.5, dtype="float32"
    )
    trained, looped = load("tiny-llama"), load("tiny-llama")
    rows = encoded(trained)
    with training.learning(trained, config) as learner:
        curve = training.train_rows(trained, learner.network, rows, config, tmp_path)
    looped.model.requires_grad_(True)
    optimiser = torch.optim.AdamW(looped.model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for rate in (0.0, 1e-2):  # a rise over one step, then the highest
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        loss = torch.cat([slow(looped, row) for row in rows]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(looped.model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert [point.loss for point in curve] == pytest.approx(losses, rel=1e-4)
    for ours, theirs in zip(trained.model.parameters(), looped.model.parameters(), strict=True):
        assert float((ours - theirs).detach().abs().mean()) < 1e-4


def test_every_row_comes_once_an_epoch_in_batches_of_like_length() -> None:
    lengths = [5 + 7 * index % 50 for index in range(101)]
    sampler = completions.ByLength(lengths, 4, seed=0)
    first = list(sampler)
    assert sorted(first) == list(range(101)) and list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == list(range(101))
    batches = [[lengths[index] for index in first[at : at + 4]] for at in range(0, 100, 4)]
    spread = sum(max(batch) - min(batch) for batch in batches) / len(batches)
    assert spread < 15, "50 is the spread of all"
