"""The state machine around an optimiser step: probe what each component's step changed, and set rate multipliers.

With a loop of one's own (accelerate, plain torch):

    groups = component_groups(model, components, learning_rates)
    optimizer = AdamW(groups)
    schedule = component_schedule(optimizer, base)
    controller = CoMMITController(model, CoMMITConfig(), components, optimizer=optimizer)
    ...
    controller.listen()
    model(**batch).loss.backward()
    controller.before_step(batch)
    optimizer.step()
    controller.after_step()
    schedule.step()
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from armillary.errors import UsageError
from armillary.methods.commit import core
from armillary.methods.commit.config import CoMMITConfig
from armillary.methods.commit.frozen import FrozenParts
from armillary.methods.commit.reading import (
    answer_logits,
    evaluation,
    nudged,
    refuse_sharded,
    rounding,
    snapshot,
    swapped,
    without_autocast,
)
from armillary.records.plain import decode
from armillary.training.components import Components, component_parameters, set_multipliers, vision_components

_FLOAT32 = torch.finfo(torch.float32).eps
_ABOVE_FLOOR = 2.0  # a change must be so many times what rounding reads as: the floor itself is one reading
# Rounding differs from batch to batch by a few times: a change so far above an earlier reading is above a new one too.
_FAR_ABOVE = 100.0
_BEFORE, _ROUNDING = "before the step", "rounding"  # readings beside those of the components
_COUNTS = ("skipped", "invalid", "invalid_in_row", "below_floor", "floor_age")


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
    """What rounding alone reads as, in nats, when it was last read; with weights or kernels of half precision that is
    at this probe, and ``changes`` are less it."""


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
        self.floor: float | None = None
        self.floor_age = 0
        self.trace: list[BalanceProbe] = []
        self.reference: dict[str, Tensor] | None = None
        self.frozen = FrozenParts(model, parts)
        self._pending: tuple[dict[str, Tensor], Tensor | None, Mapping[str, Any]] | None = None
        if optimizer is not None:
            set_multipliers(optimizer, self.multipliers)

    def listen(self) -> None:
        """May be called before a step's forward pass: a probe then needn't repeat what frozen parts gave in it.

        Where that can't be used (dropout, autocast), the probe runs them, to the same result.
        """
        if self._is_due():
            self.frozen.listen()

    def before_step(self, batch: Mapping[str, Any] | None) -> None:
        """To be called when gradients are ready and before the optimiser steps, on every process alike.

        ``batch``: the model's inputs with ``labels``; with accumulated gradients, the last micro-batch. None
        or a batch without answer tokens is skipped, unless another process has some.
        """
        self.frozen.hush()
        if self._is_due():
            given = {} if batch is None else batch
            self._pending = snapshot(self.parameters), self._read(given, _BEFORE, keep=True), given

    def after_step(self) -> BalanceProbe | None:
        """To be called after the optimiser's step and before the schedule's; the measurement, if one was usable."""
        step, self.step = self.step, self.step + 1
        if self._pending is None:
            return None
        (old, logits, batch), self._pending = self._pending, None
        if self.config.aux_weight:
            self.reference = old
        sums = self._moved(old, logits, batch)
        if self.frozen.failed:
            with swapped(self.parameters, old):
                logits = self._read(batch, _BEFORE)
            sums = self._moved(old, logits, batch)
        device = next(iter(self.parameters.values())).device
        tokens_here = 0 if logits is None else len(logits)
        *totals, tokens = _over_processes([*sums, tokens_here], device)
        probe = None
        if tokens:
            changes = tuple(total / tokens for total in totals)
            if self._floor_is_old(changes):
                (noise,) = _over_processes([self._noise(old, logits, batch)], device)
                self.floor, self.floor_age = noise / tokens, 0
            self.floor_age += 1
            probe = self._learn(step, changes, cast(float, self.floor), round(tokens))
        else:
            self.skipped += 1
        self.frozen.forget()
        return probe

    def _is_due(self) -> bool:
        return self.step % self.config.interval == 0 and self.step >= self.config.first_probe

    def _moved(self, old: Mapping[str, Tensor], logits: Tensor | None, batch: Mapping[str, Any]) -> list[float]:
        """Each component's divergence from ``logits``, summed over tokens, when the others are as they were."""
        if logits is None:
            return [0.0] * len(self.names)
        sums = []
        for name in self.names:
            others = {key: value for part in self.names if part != name for key, value in self.parts[part].items()}
            with swapped(others, old):
                sums.append(self._divergence(logits, cast(Tensor, self._read(batch, name))))
        return sums

    def _floor_is_old(self, changes: tuple[float, ...]) -> bool:
        """By what all processes know alike."""
        if self.floor is None or self.rounding > _FLOAT32 or self.floor_age >= self.config.floor_every:
            return True
        return not min(changes) > _FAR_ABOVE * self.floor  # also where one is NaN

    def _noise(self, old: Mapping[str, Tensor], logits: Tensor | None, batch: Mapping[str, Any]) -> float:
        """The divergence, summed over tokens, that a nudge of the embeddings makes before the step."""
        if logits is None:
            return 0.0
        with swapped(self.parameters, old), nudged(self.model, self.rounding):
            moved = self._read(batch, _ROUNDING)
            if self.frozen.failed:  # as for a part within which the embeddings are
                moved = self._read(batch, _ROUNDING)
        return self._divergence(logits, cast(Tensor, moved))

    @torch.no_grad()
    def _read(self, batch: Mapping[str, Any], reading: str, *, keep: bool = False) -> Tensor | None:
        with evaluation(self.model), self.exactly(), self.frozen.once(reading, keep=keep):
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
        return {**counts, "floor": self.floor, "ema": self.ema, "multipliers": dict(self.multipliers), "trace": trace}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``; UsageError where it is of other components."""
        if set(state["multipliers"]) != set(self.names):
            saved, own = ", ".join(state["multipliers"]), ", ".join(self.names)
            raise UsageError(f"the saved state is of components {saved}; this run has {own}.")
        for name in ("step", *_COUNTS):
            setattr(self, name, state.get(name, 0))
        self.floor = state.get("floor")
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
