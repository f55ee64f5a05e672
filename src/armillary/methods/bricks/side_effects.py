"""What a change of weights does to text it was not meant for. Legend: N positions, T tokens, D hidden size."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from armillary.errors import NumericError
from armillary.methods.bricks.applied import applied
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.scoring.nll import CHUNK_ELEMENTS


@dataclass(frozen=True, kw_only=True)
class SideEffects:
    """Means over texts, each text the mean of its positions, bootstrap over texts."""

    divergence: Interval
    """KL(base || changed) of the next token, nats."""

    nll_change: Interval
    """Change of NLL, nats per token: above 0 is worse."""

    same_top: Interval
    """Share of positions whose likeliest next token stays the same."""

    largest_divergence: float
    """Of all positions, nats."""

    worst_text: str
    """The text it is in."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


@torch.inference_mode()
def side_effects(
    loaded: LoadedModel,
    change: LowRank,
    texts: Sequence[str],
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    seed: int = 0,
) -> SideEffects:
    """The change against the base on every position of some texts, both read in the same pass over the texts.

    UsageError for a text of fewer than two tokens; NumericError where logits are not finite.
    """
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    means: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(rows)
    largest, worst = -1.0, 0
    for batch in padded_batches(rows, tokens_per_batch):
        ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
        mask = None if bool(mask_BT.all()) else mask_BT
        base_BTD = run_body(loaded, ids_BT, mask)
        with applied(loaded, change):
            changed_BTD = run_body(loaded, ids_BT, mask)
        for place, index in enumerate(batch):
            stop = len(rows[index]) - 1
            found_N3 = _compared(
                loaded, base_BTD[place, :stop], changed_BTD[place, :stop], ids_BT[place, 1 : stop + 1]
            )
            if not bool(found_N3.isfinite().all()):
                raise NumericError(f"the model gave NaN or infinite logits within the text {texts[index][:60]!r}.")
            kl, nll, same = found_N3.mean(dim=0).tolist()
            means[index] = (kl, nll, same)
            if float(found_N3[:, 0].max()) > largest:
                largest, worst = float(found_N3[:, 0].max()), index
    divergence, nll_change, same_top = (
        bootstrap_mean(list(column), seed=seed, how=f"bootstrap over {len(rows)} texts")
        for column in zip(*means, strict=True)
    )
    return SideEffects(
        divergence=divergence,
        nll_change=nll_change,
        same_top=same_top,
        largest_divergence=largest,
        worst_text=texts[worst],
    )


def _compared(loaded: LoadedModel, base_ND: Tensor, changed_ND: Tensor, target_N: Tensor) -> Tensor:
    """``[n, 3]`` float64: KL, change of NLL, 1 where the likeliest token is the same; by chunks of the head."""
    size = max(1, CHUNK_ELEMENTS // (4 * loaded.anatomy.vocabulary_size))
    parts = []
    for base, changed, target in zip(base_ND.split(size), changed_ND.split(size), target_N.split(size), strict=True):
        # The head itself may not be part of the change: payloads of edits name FFN writes.
        old_NV = loaded.anatomy.logits(base).float().log_softmax(dim=-1)
        new_NV = loaded.anatomy.logits(changed).float().log_softmax(dim=-1)
        kl_N = (old_NV.exp() * (old_NV - new_NV)).sum(dim=-1)
        nll_N = (old_NV - new_NV).gather(1, target[:, None])[:, 0]
        same_N = old_NV.argmax(dim=-1) == new_NV.argmax(dim=-1)
        parts.append(torch.stack([kl_N.double(), nll_N.double(), same_N.double()], dim=1))
    return torch.cat(parts).cpu()
