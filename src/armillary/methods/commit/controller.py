"""The state machine around an optimiser step: probe what each component's step changed, and set rate multipliers.

With a loop of one's own (accelerate, plain torch):

    groups = component_groups(model, components, learning_rates)
    optimizer = AdamW(groups)
    schedule = component_schedule(optimizer, base)
    controller = CoMMITController(model, CoMMITConfig(), components, optimizer=optimizer)
    ...
    loss.backward()
    controller.before_step(batch)
    optimizer.step()
    controller.after_step()
    schedule.step()
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.optim import Optimizer
from transformers import PreTrainedConfig

from armillary.errors import ModelError, UsageError
from armillary.methods.commit import core
from armillary.methods.commit.config import CoMMITConfig
from armillary.records.plain import decode
from armillary.training.components import Components, component_parameters, set_multipliers, vision_components

# What a model says at the answer tokens of a batch, now or with some parameters as they were, leaving no trace.
#
# Legend: B rows, T tokens, N answer tokens, V vocabulary, D hidden size.

Parameters = Mapping[str, nn.Parameter]
_FLOAT32 = torch.finfo(torch.float32).eps
_ABOVE_FLOOR = 2.0  # a change must be so many times what rounding reads as: the floor itself is one reading
_COUNTS = ("skipped", "invalid", "invalid_in_row", "below_floor")
_NOT_INPUTS = ("labels", "shift_labels", "num_items_in_batch", "return_outputs")


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


@contextmanager
def frozen_once(model: nn.Module, batch: Mapping[str, Any], kept: dict[nn.Module, Any]) -> Iterator[None]:
    """Inside, what reads the batch's images or sounds by weights that no one trains, as a frozen tower, runs once.

    Later passes get its outputs again from ``kept``, as long as that and the batch are the same. For passes in eval
    mode without gradient, which would give the same outputs.
    """
    # Embeddings of token ids cost nothing, and some models write into them.
    read = [value for value in batch.values() if isinstance(value, Tensor) and value.is_floating_point()]

    def once(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def from_batch(*given: Any, **named: Any) -> Any:
            tensors = [value for value in (*given, *named.values()) if isinstance(value, Tensor)]
            if not tensors or not all(any(value is own for own in read) for value in tensors):
                return forward(*given, **named)
            if module not in kept:
                kept[module] = forward(*given, **named)
            return kept[module]

        return from_batch

    with ExitStack() as stack:
        for module in _frozen(model):
            hung = vars(module)
            before = hung.get("forward")
            hung["forward"] = once(module, module.forward)
            stack.callback(hung.__setitem__ if before is not None else hung.pop, "forward", before)
        yield


def _frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a module that have parameters and train none of them."""
    for child in module.children():
        needs = [parameter.requires_grad for parameter in child.parameters()]
        if needs and not any(needs):
            yield child
        else:
            yield from _frozen(child)


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
    inputs = {name: value for name, value in batch.items() if name not in _NOT_INPUTS}
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


@dataclass(frozen=True, kw_only=True)
class BalanceProbe:
    """One usable measurement, and the multipliers that hold from the step after it."""

    step: int
    """Optimiser steps that had been taken before the measured one."""

    changes: tuple[float, ...]
    """Mean KL per answer token that each component's step caused alone, in nats, in the controller's order."""

    log_kappa: float | None
    """Of two components, log of the change by the second over that by the first; None of more."""

    multipliers: tuple[float, ...]
    tokens: int
    """Answer tokens over all processes."""

    floor: float = 0.0
    """What rounding alone reads as, in nats; with weights or kernels of half precision ``changes`` are less it."""


class CoMMITController:
    """Measures the balance around optimiser steps and keeps a rate multiplier for each component."""

    def __init__(
        self,
        model: nn.Module,
        config: CoMMITConfig | None = None,
        components: Components | None = None,
        *,
        optimizer: Optimizer | None = None,
    ) -> None:
        """``model`` is the module itself, not DDP's shell; ``components`` as in ``component_parameters``.

        None stands for vision tower and connector against the language model. Multipliers are written into the named
        groups of ``optimizer``, if given. UsageError for components that are not two or more, each with a trainable
        parameter; ModelError for sharded parameters.
        """
        self.config = config or CoMMITConfig()
        self.model = model
        parts = component_parameters(model, vision_components(model) if components is None else components)
        if callable(components) or components is None:
            parts = dict(sorted(parts.items()))  # a function has no order of its own; feature_encoder before llm
        if len(parts) < 2:
            every = (
                {vision_components(model)(name) for name, _ in model.named_parameters()} if not components else set()
            )
            frozen = ", ".join(sorted(every - set(parts)))
            raise UsageError(
                f"CoMMIT needs trainable parameters in both groups; only {', '.join(parts)} has any"
                + (f", {frozen} is frozen." if frozen else ".")
            )
        self.parts = parts
        self.names = tuple(parts)
        self.parameters = {name: parameter for part in parts.values() for name, parameter in part.items()}
        refuse_sharded(self.parameters)
        self.optimizer = optimizer
        self.step = 0
        self.ema: tuple[float, ...] | None = None
        self.multipliers = dict.fromkeys(self.names, 1.0)
        self.rounding = rounding(model)
        self.skipped = self.invalid = self.invalid_in_row = self.below_floor = 0
        self.trace: list[BalanceProbe] = []
        self.reference: dict[str, Tensor] | None = None
        self._pending: tuple[dict[str, Tensor], Tensor | None, float, Mapping[str, Any]] | None = None
        self._outputs: dict[nn.Module, Any] = {}
        if optimizer is not None:
            set_multipliers(optimizer, self.multipliers)

    def before_step(self, batch: Mapping[str, Any] | None) -> None:
        """To be called when gradients are ready and before the optimiser steps, on every process alike.

        ``batch``: the model's inputs with ``labels``; with accumulated gradients, the last micro-batch. None
        or a batch without answer tokens is skipped, unless another process has some.
        """
        if self.step % self.config.interval or self.step < self.config.first_probe:
            return
        given, self._outputs = {} if batch is None else batch, {}
        logits, floor = self._read(given), 0.0
        if logits is not None:
            with nudged(self.model, self.rounding):
                floor = self._divergence(logits, cast(Tensor, self._read(given)))
        self._pending = snapshot(self.parameters), logits, floor, given

    def after_step(self) -> BalanceProbe | None:
        """To be called after the optimiser's step and before the schedule's; the measurement, if one was usable."""
        step, self.step = self.step, self.step + 1
        if self._pending is None:
            return None
        (old, logits, floor, batch), self._pending = self._pending, None
        if self.config.aux_weight:
            self.reference = old
        sums = [0.0] * len(self.names) + [floor, 0.0 if logits is None else len(logits)]
        for index, name in enumerate(self.names):
            if logits is not None:
                others = {key: value for part in self.names if part != name for key, value in self.parts[part].items()}
                with swapped(others, old):
                    sums[index] = self._divergence(logits, cast(Tensor, self._read(batch)))
        self._outputs = {}
        *totals, noise, tokens = _over_processes(sums, next(iter(self.parameters.values())).device)
        if not tokens:
            self.skipped += 1
            return None
        return self._learn(step, tuple(total / tokens for total in totals), noise / tokens, round(tokens))

    @torch.no_grad()
    def _read(self, batch: Mapping[str, Any]) -> Tensor | None:
        with evaluation(self.model), self.exactly(), frozen_once(self.model, batch, self._outputs):
            return answer_logits(self.model, batch, self.config.max_tokens)

    def exactly(self) -> AbstractContextManager[None]:
        """Around a forward: no coarser than its weights allow."""
        return without_autocast(self.model) if self.rounding <= _FLOAT32 else nullcontext()

    def _divergence(self, logits_NV: Tensor, moved_NV: Tensor) -> float:
        """Sum over tokens, by few tokens at a time: float64 of a large vocabulary is much."""
        pairs = zip(logits_NV.split(32), moved_NV.split(32), strict=True)
        return float(sum(core.divergence(self.config.divergence, *pair).sum() for pair in pairs))

    def _learn(self, step: int, changes: tuple[float, ...], floor: float, tokens: int) -> BalanceProbe | None:
        if not all(0 <= change < float("inf") for change in changes):
            self._count_invalid(changes)
            return None
        self.invalid_in_row = 0
        coarse = self.rounding > _FLOAT32  # where a step that is no change at all was lost in rounding too
        if min(changes) <= self.config.least_change and not coarse:
            self.skipped += 1
            return None
        if min(changes) <= max(_ABOVE_FLOOR * floor, self.config.least_change):
            self._count_below_floor(changes, floor)
            return None
        if coarse:
            changes = tuple(change - floor for change in changes)
        now = core.lags(changes)
        self.ema = core.smoothed(self.ema, now, self.config.ema)
        mode, gamma, clip = self.config.mode, self.config.gamma, self.config.clip
        if mode == "integral":
            values = core.integrated(tuple(self.multipliers.values()), now, gamma, clip)
        else:
            values = core.multipliers(mode, self.ema, gamma, clip)
        self.multipliers = dict(zip(self.names, values, strict=True))
        if self.optimizer is not None:
            set_multipliers(self.optimizer, self.multipliers)
        kappa = core.log_kappa(now) if len(now) == 2 else None
        self.trace.append(
            BalanceProbe(step=step, changes=changes, log_kappa=kappa, multipliers=values, tokens=tokens, floor=floor)
        )
        return self.trace[-1]

    def _count_below_floor(self, changes: tuple[float, ...], floor: float) -> None:
        self.below_floor += 1
        if self.below_floor == self.config.warn_after:
            shown = ", ".join(f"{name} {change:.2g}" for name, change in zip(self.names, changes, strict=True))
            cure = "; train weights of float32 (bf16=True keeps them so)" if self.rounding > _FLOAT32 else ""
            warnings.warn(
                f"{self.below_floor} probes of CoMMIT were below the floor: of the last one's changes ({shown} nats) "
                f"one is no more than rounding ({floor:.2g}), so that their balance is unknown; rates stay as they "
                f"are{cure}.",
                UserWarning,
                stacklevel=4,
            )

    def _count_invalid(self, changes: tuple[float, ...]) -> None:
        self.invalid += 1
        self.invalid_in_row += 1
        if self.invalid_in_row == self.config.warn_after:
            shown = ", ".join(f"{name} {change}" for name, change in zip(self.names, changes, strict=True))
            warnings.warn(
                f"{self.invalid_in_row} probes of CoMMIT in a row gave no finite change ({shown}); rates stay as they "
                "are. The training may have diverged.",
                UserWarning,
                stacklevel=4,
            )

    @property
    def log_kappas(self) -> list[float]:
        """Log kappa of all usable probes; empty where there are more than two components."""
        return [probe.log_kappa for probe in self.trace if probe.log_kappa is not None]

    def state_dict(self) -> dict[str, Any]:
        """What a later controller needs to go on, as plain data for JSON; the regulariser's snapshot is not in it."""
        counts = {name: getattr(self, name) for name in ("step", *_COUNTS)}
        trace = [asdict(probe) for probe in self.trace]
        return {**counts, "ema": self.ema, "multipliers": dict(self.multipliers), "trace": trace}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``; UsageError where it is of other components."""
        if set(state["multipliers"]) != set(self.names):
            saved, own = ", ".join(state["multipliers"]), ", ".join(self.names)
            raise UsageError(f"the saved state is of components {saved}; this run has {own}.")
        for name in ("step", *_COUNTS):
            setattr(self, name, state.get(name, 0))
        self.ema = None if state["ema"] is None else tuple(state["ema"])
        self.multipliers = {name: state["multipliers"][name] for name in self.names}
        self.trace = [decode(BalanceProbe, probe, "the saved probe") for probe in state["trace"]]
        if self.optimizer is not None:
            set_multipliers(self.optimizer, self.multipliers)


def _over_processes(sums: list[float], device: torch.device) -> list[float]:
    """Sums over all processes, the same on each; a NaN of one is NaN for all."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return sums
    # float64 is kept on CUDA and on the CPU, the two places where processes exchange numbers.
    shared = torch.tensor(sums, dtype=torch.float64, device=device if device.type == "cuda" else "cpu")
    distributed.all_reduce(shared)
    return cast(list[float], shared.tolist())
