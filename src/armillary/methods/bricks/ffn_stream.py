"""The inputs and the activations of every FFN, shown to a receiver text by text and layer by layer; nothing is kept.

Texts of equal length run together, so there is no padding. Legend: B texts, T tokens, D hidden size, M neurons.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.bricks.ffn_function import FfnFunction
from armillary.models import LoadedModel
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.progress import counted

Receive = Callable[[int, list[int], Tensor, Tensor], None]
"""``receive(layer, texts, x_BTD, a_BTM)``: inputs and activations of one layer for the texts of these places."""


def stream_ffns(
    loaded: LoadedModel,
    functions: Sequence[FfnFunction],
    texts: Sequence[str],
    receive: Receive,
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 1024,
    skip: int = 1,
    label: str = "",
) -> int:
    """Number of tokens shown. The first ``skip`` tokens of a text (attention sinks) are left out.

    UsageError for no texts, or for a text that has no other tokens.
    """
    if not texts or skip < 0:
        raise UsageError(f"reading FFNs needs texts and skip >= 0; got {len(texts)} texts and skip = {skip}.")
    rows = encode(loaded, texts, max_tokens=max_tokens, least=skip + 1)
    stage = _Stage(receive, skip)
    with ExitStack() as hooks, torch.no_grad(), counted(label, len(rows)) as bar:
        for layer, function in enumerate(functions):
            hooks.callback(function.gate.register_forward_pre_hook(stage.reads(layer)).remove)
            hooks.callback(function.parts.write.register_forward_pre_hook(stage.writes(layer)).remove)
        for batch in equal_length_batches(rows, tokens_per_batch):
            stage.texts = batch
            run_body(loaded, torch.tensor([rows[place] for place in batch], device=loaded.device))
            bar.advance(len(batch))
    return sum(len(row) - skip for row in rows)


class _Stage:
    """Holds a layer's input until its activations come."""

    def __init__(self, receive: Receive, skip: int) -> None:
        self.texts: list[int] = []
        self._receive, self._skip = receive, skip
        self._x: Tensor | None = None

    def reads(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            self._x = self._by_text(args[0])

        return hook

    def writes(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            assert self._x is not None
            self._receive(layer, self.texts, self._x, self._by_text(args[0]))
            self._x = None

        return hook

    def _by_text(self, x: Tensor) -> Tensor:
        # OPT flattens batch and tokens.
        return x.detach().reshape(len(self.texts), -1, x.shape[-1])[:, self._skip :]
