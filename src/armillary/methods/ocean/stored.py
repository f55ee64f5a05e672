"""What base and graph policy say of logged chains, kept with a run so that it goes on as it began."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.methods.ocean import objectives
from armillary.methods.ocean.rows import ChainRow
from armillary.methods.ocean.scores import ChainBatch, References

NAMES = ("base", "kg", "baseline")

Known = tuple[Tensor, Tensor, Tensor]
"""Of a row's scored tokens: log-probability under base and graph policy, and the baseline."""


@dataclass(frozen=True)
class Item:
    """A row of a data set, numbered over training and evaluation rows."""

    row: ChainRow
    shares: list[float]
    """Weight of each token in the nested mean."""

    index: int
    kg_row: ChainRow | None = None
    """The chain as the graph policy's own tokenizer reads it, where ratios are of whole spans."""


def collated(items: Sequence[Item]) -> dict[str, Tensor]:
    """Rows padded on the right."""
    rows = [item.row for item in items]
    batch = ChainBatch.of(rows)
    length = batch.input_ids_BL.shape[1]
    return {
        "input_ids": batch.input_ids_BL,
        "attention_mask": batch.attention_mask_BL,
        "step_ids": batch.step_ids_BL,
        "span_ids": batch.span_ids_BL,
        "shares": torch.tensor([[*item.shares, *[0.0] * (length - len(item.shares))] for item in items]),
        "shaped": torch.tensor([row.logging != "lambda" for row in rows]),
        "index": torch.tensor([item.index for item in items]),
    }


class StoredReferences:
    """``Known`` of every item, in memory; on the disk in one file."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._known: dict[int, Known] = {}

    @property
    def complete(self) -> bool:
        """True where every item has been read."""
        return len(self._known) == len(self.items)

    def fill(self, known: dict[int, Known], ratio_clip: float) -> None:
        """Take what was read of all items.

        On entity tokens whose graph policy has another vocabulary no mean over words is known: the mean reward of the
        logged entity tokens stands in for the baseline.
        """
        rewards = []
        for item in self.items:
            base, kg, baseline = known[item.index]
            open_N = torch.isnan(baseline)
            scored = torch.tensor(item.row.step_ids) >= 0
            spread = objectives.spread_spans(base[None], torch.tensor([item.row.span_ids])[:, scored])[0]
            rewards.append(objectives.graph_factor(spread, kg, open_N, ratio_clip)[open_N] * base[open_N])
        logged = torch.cat(rewards)
        mean = logged.mean() if len(logged) else torch.tensor(0.0)
        self._known = {
            index: (base, kg, torch.where(torch.isnan(baseline), mean, baseline))
            for index, (base, kg, baseline) in known.items()
        }

    def of(self, indices: Sequence[int], batch: ChainBatch) -> References:
        """Of the items of a batch, on its device."""
        filled = []
        for kind in range(len(NAMES)):
            values = torch.cat([self._known[index][kind] for index in indices]).to(batch.input_ids_BL.device)
            empty = torch.zeros(batch.scored_BL.shape, device=values.device)
            filled.append(empty.masked_scatter(batch.scored_BL, values))
        return References(*filled)

    def save(self, file: Path) -> None:
        """Write all, whole or not at all."""
        flat = {
            name: torch.cat([self._known[item.index][kind] for item in self.items]) for kind, name in enumerate(NAMES)
        }
        write_atomic(file, save(flat, metadata={"rows": self._digest()}))

    def load(self, file: Path) -> None:
        """Read what ``save`` wrote. UsageError where it is missing, or of other rows."""
        if not file.exists():
            raise UsageError(
                f"{file} is missing, so this run would not go on as it began; resume in the folder that it was "
                "written to, or train from the beginning."
            )
        with safe_open(file, "pt") as header:
            written = (header.metadata() or {}).get("rows")
        if written != self._digest():
            raise UsageError(f"{file} is of other rows than those given, so this run would not go on as it began.")
        flat, start = load_file(file), 0
        for item in self.items:
            end = start + sum(step >= 0 for step in item.row.step_ids)
            base, kg, baseline = (flat[name][start:end] for name in NAMES)
            self._known[item.index] = (base, kg, baseline)
            start = end

    def _digest(self) -> str:
        """Of the rows' tokens, steps, entities and logging."""
        hashed = hashlib.sha256()
        for item in self.items:
            row = item.row
            hashed.update(repr((row.input_ids, row.step_ids, row.span_ids, row.logging)).encode())
        return hashed.hexdigest()
