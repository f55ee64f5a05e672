"""CoMMIT as callbacks of the stock Trainer: one that only watches the balance, one that sets the rates by it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from armillary.errors import UsageError
from armillary.methods.commit.config import CoMMITConfig
from armillary.methods.commit.controller import CoMMITController
from armillary.runs.atomic import write_atomic
from armillary.training.component_groups import RateMultipliers, log_figures, set_multipliers


def _reference_path(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the regulariser's snapshot is kept beside the weights of a checkpoint."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / "commit_reference.safetensors"


class BalanceMonitor(TrainerCallback, ExportableState):
    """Measures the balance of the components while any Trainer trains, and logs it; rates are left alone.

    The log gets ``commit/log_kappa`` (of more than two components each one's ``commit/change/...``). ``controller``
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
        if self.controller is not None and self.controller.trace and logs is not None and "loss" in logs:
            log_figures(state, logs, self.figures())

    def figures(self) -> dict[str, float]:
        """What the last probe found, under the names of the log."""
        if self.controller is None or not self.controller.trace:
            return {}
        last = self.controller.trace[-1]
        if last.log_kappa is not None:
            return {"commit/log_kappa": last.log_kappa}
        return {
            f"commit/change/{name}": value for name, value in zip(self.controller.names, last.changes, strict=True)
        }

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
        rates = {} if self.controller is None else self.controller.multipliers
        return super().figures() | {f"commit/multiplier/{name}": value for name, value in rates.items()}
