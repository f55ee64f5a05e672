"""CoMMIT as a Trainer: component groups and schedule, the callback, and the auxiliary regulariser in the loss."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.methods.commit import core
from armillary.methods.commit.config import CoMMITConfig
from armillary.methods.commit.controller import CoMMITController
from armillary.methods.commit.reading import answer_logits, answer_mask, evaluation
from armillary.training.components import ComponentMixin, RateMultipliers, log_figures, set_multipliers

# The auxiliary regulariser: movement of the output since the last probe by each component alone, capped.
#
# The paper's term encourages larger updates of the generation distribution, without labels, by regularisation "on the
# gradient" (abstract of v2); its formula was not at hand. This one is ours and acts on the output instead:
# ``L = L_task - weight * sum_m w_m min(D_m, cap)``, with D_m the KL from the snapshot's distribution to that of the
# model in which component m alone has moved. At the snapshot value and gradient are 0.


def movements(controller: CoMMITController, batch: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Each component and its D_m, nats per answer token (float64, scalar), with a gradient in this component only.

    Nothing before the first probe and for a batch without answer tokens. The model runs in eval mode.
    """
    old = controller.reference
    if old is None:
        return
    model, most = controller.model, controller.config.max_tokens
    with evaluation(model), controller.exactly(), torch.no_grad():
        reference = answer_logits(model, batch, most, old)
    if reference is None:
        return
    for name, part in controller.parts.items():
        others = {key: value for key, value in old.items() if key not in part}
        with evaluation(model), controller.exactly():
            moved = cast(Tensor, answer_logits(model, batch, most, others))
        yield name, core.divergence(controller.config.divergence, reference, moved).mean()


def auxiliary_gain(controller: CoMMITController, batch: Mapping[str, Any], task_loss: Tensor) -> Tensor | None:
    """``sum_m w_m min(D_m, cap)``, to be subtracted from the loss times its weight; None where there is no term.

    The weights sum to 1 and are larger for what lags. With the gate, a component's term is dropped where its gradient
    opposes the task's (their product with the gradient of ``task_loss`` is positive).
    """
    config = controller.config
    weights = dict(zip(controller.names, core.push_weights(controller.ema, len(controller.names)), strict=True))
    terms = []
    for name, moved in movements(controller, batch):
        term = weights[name] * moved.clamp(max=config.aux_cap)
        if not config.aux_gate or _agrees(term, task_loss, list(controller.parts[name].values())):
            terms.append(term.to(task_loss.device, torch.float32))
    return torch.stack(terms).sum() if terms else None


def _agrees(term: Tensor, task_loss: Tensor, parameters: list[torch.nn.Parameter]) -> bool:
    if not term.requires_grad:  # a component that this batch does not reach, as the encoder in a batch of text
        return True
    pairs = [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) for value in (term, task_loss)
    ]
    products = [(a * b).sum() for a, b in zip(*pairs, strict=True) if a is not None and b is not None]
    return not products or float(torch.stack(products).sum()) <= 0


# CoMMIT as callbacks of the stock Trainer: one that only watches the balance, one that sets the rates by it.


def _reference_path(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the regulariser's snapshot is kept beside the weights of a checkpoint."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / "commit_reference.safetensors"


class BalanceMonitor(TrainerCallback, ExportableState):
    """Measures the balance of the components while any Trainer trains, and logs it; rates are left alone.

    The log gets ``commit/log_kappa`` (of more than two components each one's ``commit/change/...``), and as
    ``commit/below_floor`` how many probes so far were no more than rounding. ``controller``
    holds the whole trace. Training goes on bit for bit as without it.
    """

    def __init__(
        self,
        config: CoMMITConfig | Mapping[str, Any] | None = None,
        components: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """``components``: name -> regular expressions; None stands for vision tower and connector against the rest.

        Both are plain enough for a checkpoint, from which the Trainer may make this object anew.
        """
        super().__init__()
        self.config = CoMMITConfig(**config) if isinstance(config, Mapping) else config or CoMMITConfig()
        self.components = components
        self.controller: CoMMITController | None = None
        self.in_loss = False
        """Set by ``CoMMITMixin``, which adds the regulariser to the loss."""

        self.has_reference = False
        """Of a checkpoint: whether the regulariser's snapshot was written beside it."""

        self.resumed: dict[str, Any] | None = None
        """What the Trainer restores from a checkpoint, if told to; the same is read from its state in any case."""

        self._batch: Mapping[str, Any] | None = None
        self._handle: RemovableHandle | None = None

    def capture(self, batch: Mapping[str, Any]) -> None:
        """Takes the batch that the coming step learns from; by itself the callback sees what ``forward`` is given."""
        self._batch = batch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.deepspeed or args.fsdp:
            raise UsageError("CoMMIT is tested on one process and on plain data parallelism (DDP), not with shards.")
        model: nn.Module = kwargs["model"]
        self.controller = CoMMITController(model, self.config, self.components)
        stored = cast(dict[str, Any], state.stateful_callbacks or {})  # its annotation tells of what it is made from
        saved = stored.get(type(self).__name__) if state.global_step else None
        if saved:
            # The Trainer itself restores callbacks only if told to.
            self.controller.load_state_dict(saved["attributes"]["resumed"])
            had_one = bool(saved["attributes"].get("has_reference"))
            self._load_reference(_reference_path(args, state), had_one=had_one)
        self.controller.step = state.global_step
        self._unhook()
        self._handle = model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if module.training and "labels" in named:
            self._batch = named

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self.controller is not None:
            self.controller.frozen.hush()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_step_begin(args, state, control, **kwargs)
        if self.controller is not None:
            self.controller.listen()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_pre_optimizer_step(args, state, control, **kwargs)
        if self.controller is not None:
            self.controller.before_step(self._batch)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_optimizer_step(args, state, control, **kwargs)
        if self.controller is not None:
            self.controller.after_step()
        self._batch = None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._unhook()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.controller is not None and logs is not None and "loss" in logs:
            log_figures(state, logs, self.figures())

    def figures(self) -> dict[str, float]:
        """What the last probe found, under the names of the log."""
        if self.controller is None:
            return {}
        lost = {"commit/below_floor": float(self.controller.below_floor)} if self.controller.below_floor else {}
        if not self.controller.trace:
            return lost
        last = self.controller.trace[-1]
        if last.log_kappa is not None:
            return {"commit/log_kappa": last.log_kappa, **lost}
        changes = zip(self.controller.names, last.changes, strict=True)
        return {f"commit/change/{name}": value for name, value in changes} | lost

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        reference = None if self.controller is None else self.controller.reference
        if reference is not None and state.is_world_process_zero:
            content = save({name: value.contiguous() for name, value in reference.items()})
            write_atomic(_reference_path(args, state), content)

    def _load_reference(self, path: Path, *, had_one: bool) -> None:
        """The regulariser's snapshot. UsageError where the checkpoint had one and it is not there."""
        if self.controller is not None and self.config.aux_weight and had_one:
            if not path.exists():
                raise UsageError(
                    f"{path} is missing, so this checkpoint would not go on as it was: the run was killed while it "
                    "was written, or it was moved; resume from another, in the folder that it was written to."
                )
            loaded = load_file(path)
            self.controller.reference = {
                name: loaded[name].to(parameter.device) for name, parameter in self.controller.parameters.items()
            }

    def state(self) -> dict[str, Any]:
        """For the checkpoint: settings, moving average, multipliers, counts and trace."""
        patterns = None if self.components is None else {name: list(value) for name, value in self.components.items()}
        resumed = None if self.controller is None else self.controller.state_dict()
        has_reference = self.controller is not None and self.controller.reference is not None
        attributes = {"resumed": resumed, "in_loss": self.in_loss, "has_reference": has_reference}
        return {"args": {"config": self.config.to_dict(), "components": patterns}, "attributes": attributes}


class CoMMITCallback(BalanceMonitor, RateMultipliers):
    """Sets the learning rates of the components by their balance; needs an optimiser with groups of their names.

    Such groups are made by ``component_groups``, by ``ComponentTrainer`` and by ``CoMMITTrainer``. Under a
    ``component_schedule`` multipliers show in the logged rates; under any other schedule they are applied around each
    step. The auxiliary regulariser needs ``CoMMITTrainer``.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.config.aux_weight and not self.in_loss:
            raise UsageError(
                f"aux_weight = {self.config.aux_weight} changes the loss; use CoMMITTrainer, or set it to 0."
            )
        super().on_train_begin(args, state, control, **kwargs)
        if self.controller is not None:
            self.controller.optimizer = kwargs["optimizer"]
            set_multipliers(kwargs["optimizer"], self.controller.multipliers)

    def figures(self) -> dict[str, float]:
        """What the last probe found and the multipliers that follow from it, under the names of the log."""
        rates = self.controller.multipliers if self.controller is not None and self.controller.trace else {}
        return super().figures() | {f"commit/multiplier/{name}": value for name, value in rates.items()}


class CoMMITMixin(ComponentMixin):
    """Put before a Trainer class: ``class CoMMITSFTTrainer(CoMMITMixin, SFTTrainer)``.

    With ``gamma=0`` and ``aux_weight=0`` it trains bit for bit as that class does.
    """

    def __init__(
        self,
        *args: Any,
        commit: CoMMITConfig | None = None,
        components: Mapping[str, Sequence[str]] | None = None,
        learning_rates: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """``commit``: the settings; ``components`` and ``learning_rates`` as in ``ComponentMixin``."""
        callback = CoMMITCallback(commit, components)
        callback.in_loss = True
        callbacks = [callback, *(kwargs.pop("callbacks", None) or [])]
        super().__init__(*args, components=components, learning_rates=learning_rates, callbacks=callbacks, **kwargs)

    @property
    def commit_callback(self) -> CoMMITCallback:
        """The callback; looked up anew, since resuming may replace it."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, CoMMITCallback))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The trainer's loss, less the regulariser in training; the batch is handed to the callback.

        The regulariser of micro-batches is weighed by their answer tokens, as the loss is; its cap holds for each.
        """
        batch = dict(inputs)  # label smoothing takes the labels out
        result: Any = super().compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        if not model.training:
            return result
        self.commit_callback.capture(batch)
        loss, *rest = result if return_outputs else (result,)
        loss = self._regularised(loss, batch, num_items_in_batch)
        return (loss, *rest) if return_outputs else loss

    def _regularised(self, loss: Tensor, batch: Mapping[str, Any], num_items: Tensor | int | None) -> Tensor:
        callback = self.commit_callback
        if not callback.config.aux_weight or callback.controller is None:
            return loss
        gain = auxiliary_gain(callback.controller, batch, loss)
        if gain is None:
            return loss
        if self._is_scaled(num_items):  # else the Trainer divides the whole loss
            gain = gain * self._share(batch, num_items)
        return loss - callback.config.aux_weight * gain

    def _share(self, batch: Mapping[str, Any], num_items: Tensor | int | None) -> float:
        """The weight of a micro-batch's mean over its answer tokens in the mean over those of the whole step."""
        if num_items is None:
            return 1 / self.current_gradient_accumulation_steps
        here = int(answer_mask(batch["labels"], batch["labels"].numel()).sum())
        # Gradients are averaged over processes; the Trainer scales the loss up likewise.
        processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return here * processes / float(num_items)

    def _is_scaled(self, num_items: Tensor | int | None) -> bool:
        """True where the task loss is already a mean over the whole accumulated batch, by the Trainer's own rule."""
        if self.loss_is_scaled_for_ga is not None:
            return bool(self.loss_is_scaled_for_ga)
        by_model = self.model_accepts_loss_kwargs and num_items is not None
        return by_model or self.compute_loss_func is not None


class CoMMITTrainer(CoMMITMixin, Trainer):
    """The stock Trainer with CoMMIT."""
