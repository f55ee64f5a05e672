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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from armillary.errors import UsageError
from armillary.methods.commit import core
from armillary.methods.commit.config import CoMMITConfig
from armillary.methods.commit.probe import answer_logits, evaluation, refuse_sharded, snapshot, swapped
from armillary.training.component_groups import Components, component_parameters, set_multipliers, vision_components


@dataclass(frozen=True, kw_only=True)
class Probe:
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
        self.skipped = self.invalid = self.invalid_in_row = 0
        self.trace: list[Probe] = []
        self.reference: dict[str, Tensor] | None = None
        self._pending: tuple[dict[str, Tensor], Tensor | None, Mapping[str, Any]] | None = None
        if optimizer is not None:
            set_multipliers(optimizer, self.multipliers)

    def before_step(self, batch: Mapping[str, Any] | None) -> None:
        """To be called when gradients are ready and before the optimiser steps, on every process alike.

        ``batch``: the model's inputs with ``labels``; with accumulated gradients, the last micro-batch. None
        or a batch without answer tokens is skipped, unless another process has some.
        """
        if self.step % self.config.interval or self.step < self.config.first_probe:
            return
        given = {} if batch is None else batch
        self._pending = snapshot(self.parameters), self._read(given), given

    def after_step(self) -> Probe | None:
        """To be called after the optimiser's step and before the schedule's; the measurement, if one was usable."""
        step, self.step = self.step, self.step + 1
        if self._pending is None:
            return None
        (old, logits, batch), self._pending = self._pending, None
        if self.config.aux_weight:
            self.reference = old
        sums = [0.0] * len(self.names) + [0.0 if logits is None else len(logits)]
        for place, name in enumerate(self.names):
            if logits is not None:
                others = {key: value for part in self.names if part != name for key, value in self.parts[part].items()}
                with swapped(others, old):
                    sums[place] = self._divergence(logits, cast(Tensor, self._read(batch)))
        *totals, tokens = _over_processes(sums, next(iter(self.parameters.values())).device)
        if not tokens:
            self.skipped += 1
            return None
        return self._learn(step, tuple(total / tokens for total in totals), round(tokens))

    @torch.no_grad()
    def _read(self, batch: Mapping[str, Any]) -> Tensor | None:
        with evaluation(self.model):
            return answer_logits(self.model, batch, self.config.max_tokens)

    def _divergence(self, logits_NV: Tensor, moved_NV: Tensor) -> float:
        """Sum over tokens, by few tokens at a time: float64 of a large vocabulary is much."""
        pairs = zip(logits_NV.split(32), moved_NV.split(32), strict=True)
        return float(sum(core.divergence(self.config.divergence, *pair).sum() for pair in pairs))

    def _learn(self, step: int, changes: tuple[float, ...], tokens: int) -> Probe | None:
        if not all(0 <= change < float("inf") for change in changes):
            self._count_invalid(changes)
            return None
        self.invalid_in_row = 0
        if min(changes) <= self.config.least_change:
            self.skipped += 1
            return None
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
        self.trace.append(Probe(step=step, changes=changes, log_kappa=kappa, multipliers=values, tokens=tokens))
        return self.trace[-1]

    def _count_invalid(self, changes: tuple[float, ...]) -> None:
        self.invalid += 1
        self.invalid_in_row += 1
        if self.invalid_in_row == self.config.warn_after:
            found = ", ".join(f"{name} {change}" for name, change in zip(self.names, changes, strict=True))
            warnings.warn(
                f"{self.invalid_in_row} probes of CoMMIT in a row gave no finite change ({found}); rates stay as they "
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
        counts = {name: getattr(self, name) for name in ("step", "skipped", "invalid", "invalid_in_row")}
        trace = [asdict(probe) for probe in self.trace]
        return {**counts, "ema": self.ema, "multipliers": dict(self.multipliers), "trace": trace}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``; UsageError where it is of other components."""
        if set(state["multipliers"]) != set(self.names):
            saved, own = ", ".join(state["multipliers"]), ", ".join(self.names)
            raise UsageError(f"the saved state is of components {saved}; this run has {own}.")
        for name in ("step", "skipped", "invalid", "invalid_in_row"):
            setattr(self, name, state[name])
        self.ema = None if state["ema"] is None else tuple(state["ema"])
        self.multipliers = {name: state["multipliers"][name] for name in self.names}
        tuples = ("changes", "multipliers")
        self.trace = [Probe(**{**probe, **{key: tuple(probe[key]) for key in tuples}}) for probe in state["trace"]]
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
