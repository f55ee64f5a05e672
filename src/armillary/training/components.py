"""Optimiser groups named for the parts of a model, and a rate multiplier for each name on top of any schedule.

The multiplier of a group stands in the group itself (``group["multiplier"]``), so that it is saved and loaded with the
optimiser. A ``ComponentLR`` reads it; around any other schedule ``RateMultipliers`` applies it to single steps.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from armillary.errors import ModelError, UsageError
from armillary.models.vision import cut_images_are_told, find_vision_anatomy
from armillary.training.checkpoints import CheckpointWeightsMixin

# Which parameters of an audio-text model are the language model's.
#
# No table of architectures: the audio tower is the module built from ``audio_config``, the language model the one
# built from the text configuration; what stands between the two is the connector. Voxtral, Qwen2-Audio and Audio
# Flamingo 3 are of this form.


def hears_only(model: nn.Module) -> bool:
    """True for a model with an audio tower and no vision tower, or a PEFT model around such a one."""
    config = getattr(_inner(model), "config", None)
    return getattr(config, "audio_config", None) is not None and getattr(config, "vision_config", None) is None


def audio_language_model(model: nn.Module) -> Callable[[str], bool]:
    """From a parameter's name to whether it is the language model's, the head counted in.

    Names are as in ``named_parameters()`` of the model, or of a PEFT, DDP or compiled model around it. ModelError for
    a model whose tower or language model can't be found.
    """
    inner = _inner(model)
    config = cast(Any, inner.config)
    text = _path_of(inner, config.get_text_config())
    _path_of(inner, config.audio_config)
    head = inner.get_output_embeddings()
    paths = [text, *(name for name, module in inner.named_modules() if module is head)]
    return lambda name: any(f".{path}." in f".{name}." for path in paths)


def _inner(model: nn.Module) -> PreTrainedModel:
    base_of = getattr(model, "get_base_model", None)
    return cast(PreTrainedModel, model if base_of is None else base_of())


def _path_of(model: PreTrainedModel, config: object) -> str:
    """Dotted path of the outermost part that keeps a configuration of this class."""
    for name, module in model.named_modules():  # outer modules come before inner ones
        if name and type(getattr(module, "config", None)) is type(config):
            return str(name)
    raise ModelError(
        f"no part of {type(model).__name__} is built from its {type(config).__name__}; it may be of a kind not yet "
        "known."
    )


Components = Mapping[str, Sequence[str]] | Callable[[str], str]
"""Component -> regular expressions searched in parameter names; or a function from a name to its component."""

FEATURE_ENCODER, LLM = "feature_encoder", "llm"
_SHOWN = 5


def vision_components(model: nn.Module) -> Callable[[str], str]:
    """Parameter name -> ``feature_encoder`` (vision or audio tower and connector) or ``llm``.

    ModelError for a model that neither sees nor hears.
    """
    if hears_only(model):
        of_language_model = audio_language_model(model)
        return lambda name: LLM if of_language_model(name) else FEATURE_ENCODER
    anatomy = find_vision_anatomy(model)

    def component(name: str) -> str:
        return LLM if anatomy.component(name) == "language_model" else FEATURE_ENCODER

    return component


def component_parameters(model: nn.Module, components: Components) -> dict[str, dict[str, nn.Parameter]]:
    """Component -> parameter name -> trainable parameter, components in the order given, each parameter in one.

    UsageError lists the parameters that are in no component or in several, and names a component without any.
    """
    parts: dict[str, dict[str, nn.Parameter]] = {} if callable(components) else {name: {} for name in components}
    offenders: dict[str, list[str]] = {"no component": [], "more than one component": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if callable(components):
            homes = [components(name)]
        else:
            homes = [tag for tag, patterns in components.items() if any(re.search(one, name) for one in patterns)]
        if len(homes) == 1:
            parts.setdefault(homes[0], {})[name] = parameter
        else:
            offenders["more than one component" if homes else "no component"].append(name)
    for fault, names in offenders.items():
        if names:
            shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            given = "the function given" if callable(components) else f"the components {', '.join(components)}"
            raise UsageError(f"every trainable parameter must be in exactly one of {given}; in {fault}: {shown}.")
    empty = [name for name, parameters in parts.items() if not parameters]
    if empty:
        raise UsageError(f"component {empty[0]!r} has no trainable parameter: all are frozen, or no name matches.")
    return parts


def _rates(learning_rates: float | Mapping[str, float] | None, tags: Collection[str]) -> dict[str, dict[str, float]]:
    """Component -> {"lr": its rate}, or {} where the optimiser's own rate shall hold."""
    if learning_rates is None or not isinstance(learning_rates, Mapping):
        return {tag: {} if learning_rates is None else {"lr": learning_rates} for tag in tags}
    if set(learning_rates) != set(tags):
        wanted, got = ", ".join(tags), ", ".join(learning_rates)
        raise UsageError(f"learning_rates must name the components {wanted}; got {got}.")
    return {tag: {"lr": learning_rates[tag]} for tag in tags}


def component_groups(
    model: nn.Module,
    components: Components,
    learning_rates: float | Mapping[str, float] | None = None,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Groups for any torch optimiser: for each component those with and those without weight decay, under ``"name"``.

    Biases and norms get no decay, by the rule of the stock Trainer. Without ``learning_rates`` groups take the
    optimiser's. Errors as in ``component_parameters``; UsageError where the rates name other components.
    """
    parts = component_parameters(model, components)
    rates = _rates(learning_rates, parts)
    # The rule is a method of the Trainer, but reads nothing of it.
    decayed = set(Trainer.get_decay_parameter_names(cast(Trainer, None), model))
    groups = []
    for tag, parameters in parts.items():
        for decays in (True, False):
            chosen = [parameter for name, parameter in parameters.items() if (name in decayed) == decays]
            if chosen:
                group = {"name": tag, "params": chosen, "weight_decay": weight_decay if decays else 0.0}
                groups.append({**group, **rates[tag], "multiplier": 1.0})
    return groups


def split_groups(
    optimizer: Optimizer,
    model: nn.Module,
    components: Components,
    learning_rates: float | Mapping[str, float] | None = None,
) -> None:
    """Splits every group of an optimiser that has not stepped into one a component; all other settings are kept.

    For optimisers that somebody else made (the Trainer's 8-bit kinds, LoRA+). Errors as in ``component_groups``.
    """
    parts = component_parameters(model, components)
    rates = _rates(learning_rates, parts)
    tags = {id(parameter): tag for tag, parameters in parts.items() for parameter in parameters.values()}
    groups = []
    for group in optimizer.param_groups:
        for tag in parts:
            chosen = [parameter for parameter in group["params"] if tags.get(id(parameter)) == tag]
            if chosen:
                groups.append({**group, "params": chosen, "name": tag, **rates[tag], "multiplier": 1.0})
    optimizer.param_groups[:] = groups


def set_multipliers(optimizer: Optimizer, multipliers: Mapping[str, float]) -> None:
    """Writes the multiplier of each name into all groups of that name; UsageError where a name has no group."""
    names = {group.get("name") for group in optimizer.param_groups}
    if not names >= set(multipliers):
        raise UsageError(
            f"the optimiser has no group named {', '.join(sorted(set(multipliers) - names))}; make it with "
            "component_groups, or use a trainer that does."
        )
    for group in optimizer.param_groups:
        group["multiplier"] = multipliers.get(group["name"], 1.0)


class ComponentLR(LambdaLR):
    """A schedule in which each group's rate is ``initial rate * base(step) * multiplier of the group``."""

    def __init__(self, optimizer: Optimizer, base: Sequence[Callable[[int], float]], last_epoch: int = -1) -> None:
        """``base`` has one function a group."""

        def multiplied(index: int, function: Callable[[int], float]) -> Callable[[int], float]:
            # The groups are looked up anew each time: loading an optimiser's state replaces them.
            return lambda step: function(step) * optimizer.param_groups[index].get("multiplier", 1.0)

        super().__init__(optimizer, [multiplied(*pair) for pair in enumerate(base)], last_epoch)

    def refresh(self) -> None:
        """Sets the rates of the coming step anew, for multipliers that changed after the last ``step()``."""
        for group, rate, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = rate * factor(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def component_schedule(
    optimizer: Optimizer, base: Callable[[int], float] | Mapping[str, Callable[[int], float]]
) -> ComponentLR:
    """A ``ComponentLR`` from one function of the step for all groups, or one for each name of groups."""
    if not isinstance(base, Mapping):
        return ComponentLR(optimizer, [base] * len(optimizer.param_groups))
    names = [group.get("name") for group in optimizer.param_groups]
    if set(names) != set(base):
        raise UsageError(
            f"the schedules are for {sorted(base)}, the optimiser's groups are {sorted(map(str, set(names)))}."
        )
    return ComponentLR(optimizer, [base[str(name)] for name in names])


class RateMultipliers(TrainerCallback):
    """Applies the groups' multipliers under any schedule: a ``ComponentLR`` does it itself, else around each step."""

    def __init__(self) -> None:
        self._kept: list[float] | None = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not isinstance(kwargs["lr_scheduler"], ComponentLR):
            groups = kwargs["optimizer"].param_groups
            self._kept = [group["lr"] for group in groups]
            for group in groups:
                group["lr"] = group["lr"] * group.get("multiplier", 1.0)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._kept is not None:
            for group, rate in zip(kwargs["optimizer"].param_groups, self._kept, strict=True):
                group["lr"] = rate
            self._kept = None


def group_rates(optimizer: Optimizer) -> dict[str, float]:
    """``learning_rate/<name>`` -> rate of the coming step; numbered where groups of one name differ in rate."""
    rates: dict[str, list[float]] = {}
    for index, group in enumerate(optimizer.param_groups):
        seen, rate = rates.setdefault(group.get("name", str(index)), []), float(group["lr"])
        if rate not in seen:
            seen.append(rate)
    return {
        f"learning_rate/{name}" + (f"/{index}" if len(seen) > 1 else ""): rate
        for name, seen in rates.items()
        for index, rate in enumerate(seen)
    }


class RatesLog(TrainerCallback):
    """Adds the rates of all groups in the last step to the Trainer's log, which names the first group's only.

    Put it behind callbacks that change rates. ``steps`` holds the rates of every step since training began.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.steps = []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.steps.append(group_rates(kwargs["optimizer"]))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.steps and logs is not None and "loss" in logs:
            log_figures(state, logs, self.steps[-1])


def log_figures(state: TrainerState, logs: dict[str, float], figures: Mapping[str, float]) -> None:
    """Adds figures to a line that the Trainer is logging and to its history, which has the line already."""
    logs.update(figures)
    if state.log_history:
        state.log_history[-1].update(figures)


# The size of each component's gradient, step by step, in the Trainer's log.


def component_norms(parts: Mapping[str, Mapping[str, nn.Parameter]]) -> dict[str, Tensor]:
    """Component -> Euclidean norm of its gradient as it stands, a scalar in float32; 0 where there is none."""
    norms = {}
    for name, parameters in parts.items():
        grads = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
        sizes = [torch.linalg.vector_norm(grad.detach().float()) for grad in grads]
        norms[name] = torch.stack([size.to(sizes[0].device) for size in sizes]).norm() if sizes else torch.zeros(())
    return norms


class ComponentNorms(TrainerCallback):
    """Adds ``gradient_norm/<component>`` of the last step, after clipping, to each line of the log."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self._parts: dict[str, dict[str, nn.Parameter]] | None = None
        self._last: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Reads the gradients."""
        if self._parts is None:
            self._parts = component_parameters(kwargs["model"], self.components)
        self._last = component_norms(self._parts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Tells the last reading."""
        if self._last and logs is not None and "loss" in logs:
            log_figures(state, logs, {f"gradient_norm/{name}": float(norm) for name, norm in self._last.items()})


# A mixin for any Trainer: optimiser groups named for the parts of the model, under any optimiser and schedule.


class ComponentMixin(CheckpointWeightsMixin):
    """Put before a Trainer class; the stock optimiser and schedule, with groups named and rates logged by component.

    With one rate for all it trains bit for bit as the stock Trainer does. Resuming gets the checkpoint's weights, as
    ``CheckpointWeightsMixin`` says.
    """

    def __init__(
        self,
        *args: Any,
        components: Mapping[str, Sequence[str]] | None = None,
        learning_rates: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """``components``: name -> regular expressions; None stands for vision tower and connector against the rest.

        ``learning_rates``: component -> rate; None gives all ``args.learning_rate``. Everything else is the Trainer's.
        """
        self.component_patterns = components
        self.component_learning_rates = learning_rates
        super().__init__(*args, **kwargs)
        self.add_callback(RatesLog())

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The stock optimiser with its groups split; UsageError where a parameter is in no component or in two."""
        made = self.optimizer is None
        optimizer: Optimizer = super().create_optimizer(model)
        if made:
            target = cast(nn.Module, self.model if model is None else model)
            components: Components = self.component_patterns or vision_components(target)
            split_groups(optimizer, target, components, self.component_learning_rates)
        return optimizer

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The stock loss; UsageError with both numbers where image tokens and image features are not as many."""
        with cut_images_are_told(cast(nn.Module, self.model)):
            return super().compute_loss(*args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The stock schedule times the groups' multipliers; kinds that are no function of the step stay stock."""
        made = self.lr_scheduler is None
        scheduler: LRScheduler = super().create_scheduler(num_training_steps=num_training_steps, optimizer=optimizer)
        if made and type(scheduler) is LambdaLR:
            scheduler = self.lr_scheduler = ComponentLR(scheduler.optimizer, scheduler.lr_lambdas)
        return scheduler


class ComponentTrainer(ComponentMixin, Trainer):
    """The stock Trainer with component groups."""
