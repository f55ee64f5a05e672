"""Show hidden values to a reducer while the model runs; nothing is stored and nothing is changed.

Shapes: N tokens that are not padding, D size of the site (hidden size for ``layer``, intermediate size for ``ffn``).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from armillary.errors import ModelError, UsageError
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.models.experts import ExpertWrite, expert_write
from armillary.models.feed_forward import single_write
from armillary.models.loaded import LoadedModel
from armillary.progress import counted

Site = Literal["ffn", "layer"]


@runtime_checkable
class Reducer(Protocol):
    """Takes in the values of one layer for some tokens and keeps only a summary."""

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Called once a layer and forward; ``x_ND`` may be overwritten afterwards, so keep no reference."""
        ...


class _Masks:
    """The attention mask of the call that is under way; the innermost call that has one counts."""

    def __init__(self) -> None:
        self._open: list[Tensor | None] = []

    def enter(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        mask = kwargs.get("attention_mask")
        if mask is None and args:
            names = list(inspect.signature(module.forward).parameters)
            mask = dict(zip(names, args, strict=False)).get("attention_mask")
        if mask is None:
            mask = self._open[-1] if self._open else None
        elif not isinstance(mask, Tensor) or mask.dim() != 2:
            raise UsageError("Streaming needs an attention mask of shape [batch, tokens], or none.")
        self._open.append(mask)

    def leave(self, *_: object) -> None:
        if self._open:
            self._open.pop()

    def kept(self, x_BTD: Tensor) -> Tensor:
        """The values as ``[n, d]`` without padding; some models flatten batch and tokens, which is undone."""
        x_ND = x_BTD.detach().reshape(-1, x_BTD.shape[-1])
        mask = self._open[-1] if self._open else None
        if mask is None:
            return x_ND
        # During generation the mask covers the cached tokens too; the last columns belong to this step.
        here = mask[:, -(len(x_ND) // mask.shape[0]) :].reshape(-1).bool()
        if len(here) != len(x_ND):
            raise ModelError(f"A layer gave {len(x_ND)} tokens, which do not fit its mask of {len(here)}.")
        return x_ND if bool(here.all()) else x_ND[here.to(x_ND.device)]


@contextmanager
def streaming(loaded: LoadedModel, site: Site, reducer: Reducer) -> Iterator[None]:
    """Inside the block every forward shows ``reducer`` its values, layer by layer, padding left out.

    ``ffn`` is the input of each layer's FFN write matrix (the neurons' activations; of experts see ``ExpertWrite``),
    ``layer`` the output of each decoder block. Padding is known from the ``attention_mask`` of the call; without one
    all tokens count. Logits are bit-equal to those without the block. All hooks are removed on any exit. Raises
    ``ModelError`` for ``ffn`` where a layer has neither a single write matrix nor experts in transformers' common form
    (a state-space mixer without an FFN).
    """
    if site not in get_args(Site):
        raise UsageError(f"The site {site!r} is unknown; 'ffn' and 'layer' are accepted.")
    masks = _Masks()
    handles: list[RemovableHandle] = []

    def receive(layer: int, x_BTD: Tensor) -> None:
        with torch.no_grad():
            reducer.update(layer, masks.kept(x_BTD))

    try:
        # A set, since the body may be the whole model.
        for module in {loaded.model, loaded.anatomy.base}:
            handles.append(module.register_forward_pre_hook(masks.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(masks.leave, always_call=True))
        for layer, part in enumerate(loaded.anatomy.layers if site == "layer" else neuron_writes(loaded)):
            handles.append(_watch(part, site, partial(receive, layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def neuron_writes(loaded: LoadedModel) -> tuple[nn.Module | ExpertWrite, ...]:
    """The FFN write matrix of each layer, or its experts; ModelError naming the first layer that has neither."""
    layers = enumerate(loaded.anatomy.layers)
    writes = [loaded.anatomy.ffn_writes[number] or expert_write(layer) for number, layer in layers]
    return tuple(write or single_write(loaded, layer) for layer, write in enumerate(writes))


def _watch(module: nn.Module | ExpertWrite, site: Site, receive: Callable[[Tensor], None]) -> RemovableHandle:
    if isinstance(module, ExpertWrite):
        return module.module.register_forward_hook(
            lambda _module, args, given, out: receive(module.activations(args, given, out)), with_kwargs=True
        )
    if site == "ffn":
        return module.register_forward_pre_hook(lambda _module, args: receive(args[0]))

    def output_hook(_module: nn.Module, _args: tuple[object, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        # Blocks return a tensor in transformers 5 and a tuple before it and in custom models.
        receive(output if isinstance(output, Tensor) else output[0])

    return module.register_forward_hook(output_hook)


@torch.inference_mode()
def run_texts(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int = 256,
    tokens_per_batch: int = 2048,
    label: str | None = None,
) -> int:
    """Number of tokens that went through the body of the model: plain forwards of the texts, without the head.

    For use inside ``with streaming(...)``. Texts are cut after ``max_tokens`` and batched with others of similar
    length, padded on the right. ``label`` names a progress bar over texts. Raises ``UsageError`` for a text without
    tokens.
    """
    rows = encode(loaded, texts, max_tokens=max_tokens)
    with counted(label, len(rows)) as bar:
        for batch in padded_batches(rows, tokens_per_batch):
            ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
            run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
            bar.advance(len(batch))
    return sum(len(row) for row in rows)
