"""How rows are learned of which the beginning is given: batches by length, the head asked at learned tokens alone.

Shapes: B rows, T tokens, N learned tokens, D hidden size, V vocabulary.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from armillary.models.batches import pad, run_body
from armillary.models.loaded import LoadedModel
from armillary.training.questions import IGNORED

_POOL = 8
"""Batches' worth of rows that are drawn together and dealt by length: little padding, and still mixed batches."""

_HEAD_AT_ONCE = 1024
"""Learned tokens of which logits are there at once: 200 MB with 50,000 tokens in the vocabulary."""

Batch = dict[str, Tensor]
"""``input_ids`` and ``labels`` ``[B, T]``, ``IGNORED`` where nothing is learned; ``attention_mask`` where one is
needed."""


class LearnedRow(Protocol):
    """Token ids of a row."""

    @property
    def ids(self) -> Sequence[int]:
        """All of them."""

    @property
    def given(self) -> int:
        """How many at the beginning are read without being learned: at least the first."""


class RowData(Dataset[LearnedRow]):
    """Rows as a Trainer takes them."""

    def __init__(self, rows: Sequence[LearnedRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> LearnedRow:
        return self.rows[index]


def collated(rows: Sequence[LearnedRow]) -> Batch:
    """Rows of a batch, padded behind, with their mask."""
    ids_BT, mask_BT = pad([row.ids for row in rows])
    given_B = torch.tensor([row.given for row in rows])
    learned_BT = (torch.arange(ids_BT.shape[1]) >= given_B[:, None]) & mask_BT.bool()
    return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": ids_BT.where(learned_BT, IGNORED)}


def token_nats(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """``[N]``: the loss of every learned token, row by row; the head is asked at a few of them at a time.

    Without ``attention_mask`` a row sees whatever precedes it alone, which is enough where padding stands behind.
    """
    labels_BT = inputs["labels"][:, 1:]
    learned_BT = labels_BT != IGNORED
    hidden_ND = run_body(loaded, inputs["input_ids"], inputs.get("attention_mask"))[:, :-1][learned_BT]
    labels_N = labels_BT[learned_BT]

    def nats(hidden_MD: Tensor, labels_M: Tensor) -> Tensor:
        return functional.cross_entropy(loaded.anatomy.logits(hidden_MD).float(), labels_M, reduction="none")

    if len(labels_N) <= _HEAD_AT_ONCE or not torch.is_grad_enabled():
        parts = [nats(*pair) for pair in zip(*(t.split(_HEAD_AT_ONCE) for t in (hidden_ND, labels_N)), strict=True)]
    else:  # logits are made again for the gradient, so that never those of all tokens are there at once
        pairs = zip(hidden_ND.split(_HEAD_AT_ONCE), labels_N.split(_HEAD_AT_ONCE), strict=True)
        parts = [cast(Tensor, checkpoint(nats, *pair, use_reentrant=False)) for pair in pairs]
    return torch.cat(parts)


class CompletionTrainer(Trainer):
    """The stock Trainer for ``RowData``; batches are of similar length, and the head is asked at learned tokens only.

    ``loaded`` is to be set before training.
    """

    loaded: LoadedModel
    shortens = False
    """Whether what weights multiply is bfloat16."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood (nats) of the learned tokens of the batch."""
        with torch.autocast(inputs["labels"].device.type, torch.bfloat16, enabled=self.shortens):
            return token_nats(self.loaded, inputs).mean()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = cast(RowData, self.train_dataset).rows
        return ByLength([len(row.ids) for row in rows], self.args.train_batch_size, self.args.seed)


class ByLength(Sampler[int]):
    """Every row once an epoch, in batches of similar length, which come in a random order of the epoch's own."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, also by a resumed run: the order depends on nothing else."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"rows {self.seed} {self.epoch}")
        order, batches = list(range(len(self.lengths))), []
        draw.shuffle(order)
        pool = _POOL * self.batch
        for start in range(0, len(order), pool):
            by_length = sorted(order[start : start + pool], key=lambda index: self.lengths[index])
            batches += [by_length[at : at + self.batch] for at in range(0, len(by_length), self.batch)]
        # The Trainer cuts batches out of one row of indices, so that a short one has to be the last.
        whole, rest = ([b for b in batches if (len(b) == self.batch) == is_whole] for is_whole in (True, False))
        draw.shuffle(whole)
        return iter([index for batch in (*whole, *rest) for index in batch])
