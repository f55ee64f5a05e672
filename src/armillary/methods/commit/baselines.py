"""What CoMMIT has to beat: rates left alone, one fixed ratio, coordinate descent, and CoMMIT's own mean rates.

Each is a callback for a trainer whose optimiser has groups named for the components, such as ``ComponentTrainer``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from armillary.errors import UsageError
from armillary.methods.commit.controller import BalanceProbe
from armillary.training.components import FEATURE_ENCODER, LLM, ComponentLR, RateMultipliers, set_multipliers


class FixedMultipliers(RateMultipliers):
    """The same multiplier for each component from the first step to the last, on top of any schedule."""

    def __init__(self, multipliers: Mapping[str, float]) -> None:
        """``multipliers``: component -> factor, 0 or more; components without one get 1."""
        super().__init__()
        if any(not 0 <= value < float("inf") for value in multipliers.values()):
            raise UsageError(f"multipliers must be finite and 0 or more; got {dict(multipliers)}.")
        self.multipliers = dict(multipliers)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        set_multipliers(kwargs["optimizer"], self.multipliers)
        if isinstance(kwargs["lr_scheduler"], ComponentLR):
            kwargs["lr_scheduler"].refresh()


class CoordinateDescent(TrainerCallback):
    """Blocks of steps in which one component only is updated, the components by turns.

    The paper names Feature CD and Language CD without defining them; that they alternate in blocks of 50 steps is our
    definition. The others' gradients are dropped after clipping, so that their optimiser state rests too.
    """

    def __init__(self, order: Sequence[str] = (FEATURE_ENCODER, LLM), block: int = 50) -> None:
        if block < 1 or len(order) < 2:
            raise UsageError(
                f"coordinate descent needs blocks of 1 or more steps and 2 components; got {block}, {order}."
            )
        self.order, self.block = tuple(order), block

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        names = {group.get("name") for group in kwargs["optimizer"].param_groups}
        if names != set(self.order):
            raise UsageError(
                f"coordinate descent is over {', '.join(self.order)}; the optimiser has {sorted(map(str, names))}."
            )

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        active = self.order[state.global_step // self.block % len(self.order)]
        for group in kwargs["optimizer"].param_groups:
            if group["name"] != active:
                for parameter in group["params"]:
                    parameter.grad = None


def constant() -> FixedMultipliers:
    """The schedule alone."""
    return FixedMultipliers({})


def feature_cd(block: int = 50) -> CoordinateDescent:
    """Coordinate descent that begins with the feature encoder."""
    return CoordinateDescent((FEATURE_ENCODER, LLM), block)


def language_cd(block: int = 50) -> CoordinateDescent:
    """Coordinate descent that begins with the language model."""
    return CoordinateDescent((LLM, FEATURE_ENCODER), block)


def fixed_ratio(ratio: float = 8.0, component: str = FEATURE_ENCODER) -> FixedMultipliers:
    """One component's rate times ``ratio`` throughout, as LoRA+ does for one of its matrices; below 1 it is slower."""
    return FixedMultipliers({component: ratio})


def mean_multipliers(trace: Sequence[BalanceProbe], names: Sequence[str], steps: int) -> dict[str, float]:
    """Component -> mean multiplier over ``steps`` steps: 1 up to the first probe's step, then what each probe set.

    Of a finished CoMMIT run, whose length is ``steps``; given to ``FixedMultipliers`` it is the control with as much
    rate from the first step, which needs hindsight. UsageError for a probe beyond the run.
    """
    last = trace[-1].step if trace else 0
    if steps <= last:
        raise UsageError(f"the run's last probe was at step {last}; it had more than the {steps} steps given.")
    starts = [0, *(probe.step + 1 for probe in trace)]
    values = [(1.0,) * len(names), *(probe.multipliers for probe in trace)]
    lengths = [end - start for start, end in zip(starts, [*starts[1:], steps], strict=True)]
    totals = [
        sum(length * value[index] for length, value in zip(lengths, values, strict=True))
        for index in range(len(names))
    ]
    return {name: total / steps for name, total in zip(names, totals, strict=True)}
