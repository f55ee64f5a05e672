"""A mixin for any Trainer: optimiser groups named for the parts of the model, under any optimiser and schedule."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import Trainer

from armillary.models.vision import cut_images_are_told
from armillary.training.checkpoint_weights import CheckpointWeightsMixin
from armillary.training.component_groups import ComponentLR, Components, RatesLog, split_groups, vision_components


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
