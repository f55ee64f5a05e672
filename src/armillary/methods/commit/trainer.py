"""CoMMIT as a Trainer: component groups and schedule, the callback, and the auxiliary regulariser in the loss."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from armillary.methods.commit.auxiliary import auxiliary_gain
from armillary.methods.commit.callback import CoMMITCallback
from armillary.methods.commit.config import CoMMITConfig
from armillary.training.component_trainer import ComponentMixin


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
        """The trainer's loss, less the regulariser in training; the batch is handed to the callback."""
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
            gain = gain / self.current_gradient_accumulation_steps
        return loss - callback.config.aux_weight * gain

    def _is_scaled(self, num_items: Tensor | int | None) -> bool:
        """True where the task loss is already a mean over the whole accumulated batch, by the Trainer's own rule."""
        if self.loss_is_scaled_for_ga is not None:
            return bool(self.loss_is_scaled_for_ga)
        by_model = self.model_accepts_loss_kwargs and num_items is not None
        return by_model or self.compute_loss_func is not None


class CoMMITTrainer(CoMMITMixin, Trainer):
    """The stock Trainer with CoMMIT."""
