"""What a model says at the answer tokens of a batch, now or with some parameters as they were, leaving no trace.

Legend: B rows, T tokens, N answer tokens, V vocabulary, D hidden size.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedConfig

from armillary.errors import ModelError

Parameters = Mapping[str, nn.Parameter]
NOT_INPUTS = ("labels", "shift_labels", "num_items_in_batch", "return_outputs")


def snapshot(parameters: Parameters) -> dict[str, Tensor]:
    """A copy of each parameter's values."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@contextmanager
def swapped(parameters: Parameters, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the parameters have these values; afterwards the very storage they had, bit for bit.

    Only for passes without gradient: a graph that is built inside would be read with the other values.
    """
    kept = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = values[name]
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = kept[name]


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Inside, eval mode; afterwards each module's mode and the generators' states are as before.

    Batch norms and dropout don't advance, and several passes that follow one another draw the same numbers, if a model
    draws any. Gradients are as outside.
    """
    modes = [(module, module.training) for module in model.modules()]
    away = {parameter.device for parameter in model.parameters() if parameter.device.type != "cpu"}
    kind = next(iter(away)).type if away else "cpu"
    model.eval()
    try:
        with torch.random.fork_rng(devices=sorted({device.index or 0 for device in away}), device_type=kind):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def rounding(model: nn.Module) -> float:
    """The relative rounding of a probe: that of float32 where weights and attention can be read in it, else coarser.

    A difference of two forwards is known only down to its rounding. In bfloat16 that is more than what a step does.
    """
    kinds = {parameter.dtype for parameter in model.parameters()}
    # The kernels of flash attention know half precision only; integers are quantised weights, read in half precision.
    configs = [getattr(module, "config", None) for module in model.modules()]
    flash = any("flash" in str(getattr(config, "_attn_implementation", "")) for config in configs)
    coarse = torch.bfloat16 if flash or any(not kind.is_floating_point for kind in kinds) else torch.float64
    return max(torch.finfo(kind).eps for kind in {coarse, *kinds} if kind.is_floating_point)


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes in its weights' own precision, also where a Trainer has put autocast around it, or
    where float32 products are made from TF32 or bfloat16 (``tf32=True``, ``set_float32_matmul_precision``)."""
    kernels: list[Any] = [
        kernel
        for library in (torch.backends.cuda, torch.backends.mkldnn, torch.backends.cudnn)
        for name in ("matmul", "conv")
        if hasattr(kernel := getattr(library, name, None), "fp32_precision")
    ]
    precisions = [kernel.fp32_precision for kernel in kernels]
    hung = vars(model)
    wrapped, own = hung.get("forward"), hung.get("_original_forward")  # by accelerate
    if own is not None:
        hung["forward"] = own
    for kernel in kernels:
        kernel.fp32_precision = "ieee"
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        if own is not None:
            hung["forward"] = wrapped
        for kernel, precision in zip(kernels, precisions, strict=True):
            kernel.fp32_precision = precision


def products_are_exact() -> bool:
    """Whether no one has asked for products of float32 matrices from TF32 or bfloat16."""
    matmul = [getattr(library, "matmul", None) for library in (torch.backends.cuda, torch.backends.mkldnn)]
    return all(getattr(kernel, "fp32_precision", "none") in ("ieee", "none") for kernel in matmul)


@contextmanager
def nudged(model: nn.Module, size: float) -> Iterator[None]:
    """Inside, token embeddings are up or down by the relative ``size``, by turns: a change that is rounding alone.

    So are embeddings that are given in place of ids; of a module that names no embedding it is what comes out of its
    first part with weights.
    """
    find = getattr(model, "get_input_embeddings", None)
    own = (module for module in model.modules() if next(module.parameters(recurse=False), None) is not None)

    def nudge(_: nn.Module, __: object, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        signs = 1 - 2 * (torch.arange(output.shape[-1], device=output.device) % 2)
        return output * (1 + size * signs).to(output.dtype)

    def nudge_given(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        ready = {name: nudge(module, given, value) for name, value in named.items() if name == "inputs_embeds"}
        return given, {**named, **ready}

    embedding = next(own, None) if find is None else find()
    with ExitStack() as stack:
        handles = [model.register_forward_pre_hook(nudge_given, with_kwargs=True)]
        handles += [] if embedding is None else [embedding.register_forward_hook(nudge)]
        for handle in handles:
            stack.callback(handle.remove)
        yield


def refuse_sharded(parameters: Parameters) -> None:
    """ModelError for parameters of which a process holds a part only (FSDP, ZeRO-3): these are untested."""
    for name, parameter in parameters.items():
        if hasattr(parameter, "device_mesh") or hasattr(parameter, "ds_id") or "_flat_param" in name:
            raise ModelError(
                f"parameter {name} is sharded over processes (FSDP or ZeRO-3); CoMMIT is tested on one process and on "
                "plain data parallelism (DDP) only."
            )


def answer_mask(labels_BT: Int[Tensor, "B T"], most: int) -> Bool[Tensor, "B T"]:
    """True where the next token is an answer token (its label is not -100); of more than ``most``, evenly spaced."""
    mask_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
    mask_BT[:, :-1] = labels_BT[:, 1:] != -100
    positions = mask_BT.flatten().nonzero().squeeze(1)
    if len(positions) > most:
        kept = positions[(torch.arange(most, device=positions.device) * len(positions)) // most]
        mask_BT = torch.zeros_like(mask_BT).flatten().index_fill(0, kept, True).view_as(mask_BT)
    return mask_BT


def answer_logits(
    model: nn.Module, batch: Mapping[str, Any], most: int, overrides: Mapping[str, Tensor] | None = None
) -> Tensor | None:
    """Logits [N, V] at the answer tokens of a batch with ``labels``; None where it has none.

    The head is given the hidden states of these tokens only, so that logits of all tokens never exist. A module
    without ``get_output_embeddings`` must return logits [B, T, V] as ``.logits`` or alone, and is read whole. With
    ``overrides``, parameters of these names have these values, and gradients reach the others. ModelError where hidden
    states do not fit the labels, and for encoder-decoder models.
    """
    labels = batch.get("labels")
    if not isinstance(labels, Tensor):
        return None
    mask_BT = answer_mask(labels, most)
    if not bool(mask_BT.any()):
        return None
    inputs = {name: value for name, value in batch.items() if name not in NOT_INPUTS}
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{type(model).__name__} is an encoder-decoder model; CoMMIT reads decoder-only ones.")
    if isinstance(config, PreTrainedConfig):
        inputs |= {"use_cache": False, "return_dict": True}
    find_head = getattr(model, "get_output_embeddings", None)
    head = cast(nn.Module | None, find_head()) if find_head is not None else None
    with ExitStack() as stack:
        if head is not None:
            stack.enter_context(_reading_only(head, mask_BT))
        # A graph must hold the values themselves, which a swap of storage would change under it.
        output = functional_call(model, dict(overrides), (), inputs) if overrides else model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return cast(Tensor, logits[mask_BT] if head is None else logits.reshape(-1, logits.shape[-1]))


@contextmanager
def _reading_only(head: nn.Module, mask_BT: Tensor) -> Iterator[None]:
    """Inside, the head reads the chosen positions only, as one row [1, N, D]."""
    rows, length = mask_BT.shape

    def choose(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = given[0]
        if hidden.dim() != 3 or hidden.shape[0] != rows or hidden.shape[1] < length:
            raise ModelError(
                f"the head reads states of shape {tuple(hidden.shape)}, which do not fit labels of {rows} rows of "
                f"{length} tokens."
            )
        # Models that put soft tokens before the text have states without a label at the front.
        return (hidden[:, -length:][mask_BT.to(hidden.device)][None], *given[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
