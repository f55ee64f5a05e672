"""The neurons of a model's feed-forward networks (FFNs): how strongly each one writes, and changing what they write.

A neuron is one input of the FFN's write matrix: its activation a_i times column i of the matrix is what it adds to the
FFN's output, in gated and plain FFNs alike. Legend: B texts, T tokens, L layers, M neurons of an FFN, D hidden size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.activations.stream import neuron_writes
from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.models.experts import ExpertWrite
from armillary.models.feed_forward import FfnFunction, weight_OI
from armillary.progress import counted

Change = Callable[[Tensor], Tensor]
"""From the activations ``[..., M]`` of one layer to those that are written; it must leave its input as it was."""


def ffn_writes(loaded: LoadedModel) -> tuple[nn.Module | ExpertWrite, ...]:
    """The write matrix of each layer, or its experts. ModelError where a layer has neither, or where widths differ."""
    writes = neuron_writes(loaded)
    widths = {write.neurons if isinstance(write, ExpertWrite) else weight_OI(write).shape[1] for write in writes}
    if len(widths) != 1:
        raise ModelError(f"The layers of {loaded.name} differ in their number of neurons: {sorted(widths)}.")
    return writes


def neurons_shape(loaded: LoadedModel) -> tuple[int, int]:
    """(layers, neurons of each); ModelError as ``ffn_writes``."""
    writes = ffn_writes(loaded)
    return len(writes), weight_OI(writes[0]).shape[1]


def column_norms(loaded: LoadedModel) -> NDArray[np.float64]:
    """Euclidean norm of each neuron's column, ``[L, M]``: |a_i| times it is the size of what the neuron writes."""
    norms = [torch.linalg.vector_norm(weight_OI(write).detach().cpu().double(), dim=0) for write in ffn_writes(loaded)]
    stacked: NDArray[np.float64] = torch.stack(norms).numpy()
    return stacked


@contextmanager
def changed(loaded: LoadedModel, changes: Mapping[int, Change], *, skip: int = 0) -> Iterator[None]:
    """Inside the block the named layers write the changed activations; no weight is touched, hooks always go away.

    The first ``skip`` tokens of every text (attention sinks) keep theirs.
    Raises ModelError where a model ran in the block without calling a hook (compiled or fused FFNs).
    """
    writes = ffn_writes(loaded)
    outside = sorted(layer for layer in changes if not 0 <= layer < len(writes))
    if outside:
        raise UsageError(f"{loaded.name} has layers 0 to {len(writes) - 1}; got layer {outside[0]}.")
    runs: list[int] = []
    fired: set[int] = set()

    def hook(layer: int, change: Change, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (changed_activations(layer, change, args[0]), *args[1:])

    def changed_activations(layer: int, change: Change, old: Tensor) -> Tensor:
        fired.add(layer)
        new = change(old)
        return torch.where(firsts[0].reshape(*old.shape[:-1], 1), old, new) if skip else new

    def add(
        layer: int, change: Change, write: ExpertWrite, _: nn.Module, args: tuple[Any, ...], given: Any, out: Tensor
    ) -> Tensor:
        old = write.activations(args, given, out)
        return out + write.written(changed_activations(layer, change, old) - old)

    firsts: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]) -> None:
        ids = next(value for value in (*args, given.get("input_ids"), given.get("inputs_embeds")) if value is not None)
        mask, cache = given.get("attention_mask"), given.get("past_key_values")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            position_BT = mask.long().cumsum(1)[:, -ids.shape[1] :] - 1
        else:
            start = cache.get_seq_length() if cache is not None else 0
            position_BT = torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape[:2])
        firsts[:] = [position_BT < skip]

    base = loaded.anatomy.base
    handles = [base.register_forward_hook(lambda *_: runs.append(1))]
    if skip:
        handles.append(base.register_forward_pre_hook(note, with_kwargs=True))
    try:
        for layer, change in changes.items():
            write = writes[layer]
            handles.append(
                write.module.register_forward_hook(partial(add, layer, change, write), with_kwargs=True)
                if isinstance(write, ExpertWrite)
                else write.register_forward_pre_hook(partial(hook, layer, change))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()
    silent = sorted(set(changes) - fired)
    if runs and silent:
        raise ModelError(
            f"The FFN of layer {silent[0]} of {loaded.name} ran without its hook: compiled or fused layers can't be "
            "changed this way; load the model without them."
        )


Receive = Callable[[int, list[int], Tensor, Tensor], None]
"""``receive(layer, texts, x_BTD, a_BTM)``: inputs and activations of one layer for the texts with these indices."""


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
    """Show ``receive`` the inputs and activations of every FFN; the number of tokens shown. Nothing is kept.

    Texts of equal length run together, so there is no padding. The first ``skip`` tokens of a text (attention sinks)
    are left out. UsageError for no texts, or for a text that has no other tokens.
    """
    if not texts or skip < 0:
        raise UsageError(f"reading FFNs needs texts and skip >= 0; got {len(texts)} texts and skip = {skip}.")
    rows = encode(loaded, texts, max_tokens=max_tokens, least=skip + 1)
    batch: list[int] = []
    inputs: dict[int, Tensor] = {}

    def by_text(x: Tensor) -> Tensor:
        # OPT flattens batch and tokens.
        return x.detach().reshape(len(batch), -1, x.shape[-1])[:, skip:]

    def read(layer: int, _: nn.Module, args: tuple[Any, ...]) -> None:
        inputs[layer] = by_text(args[0])

    def written(layer: int, _: nn.Module, args: tuple[Any, ...]) -> None:
        receive(layer, batch, inputs.pop(layer), by_text(args[0]))

    with ExitStack() as hooks, torch.no_grad(), counted(label, len(rows)) as bar:
        for layer, function in enumerate(functions):
            hooks.callback(function.gate.register_forward_pre_hook(partial(read, layer)).remove)
            hooks.callback(function.parts.write.register_forward_pre_hook(partial(written, layer)).remove)
        for batch in equal_length_batches(rows, tokens_per_batch):
            run_body(loaded, torch.tensor([rows[index] for index in batch], device=loaded.device))
            bar.advance(len(batch))
    return sum(len(row) - skip for row in rows)
