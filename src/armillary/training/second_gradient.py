"""A training step with two gradients: the task's, and that of a second loss of the same forward, kept apart.

Works on ``transformers.Trainer`` and what inherits from it, such as TRL's ``SFTTrainer``. The stock step runs as it
is; the second gradient is taken inside it, between the forward and the backward pass. So with no second loss and no
edit, training equals the stock trainer's bit for bit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from transformers import Trainer

from armillary.errors import UsageError
from armillary.models.vision import cut_images_are_told
from armillary.training.checkpoints import CheckpointWeightsMixin

Gradients = dict[nn.Parameter, Tensor]


class SecondGradientMixin(CheckpointWeightsMixin):
    """To stand before a trainer class: ``class Mine(SecondGradientMixin, Trainer)``.

    Override ``second_loss`` and ``edit_gradients``; ``watch_forward`` and ``second_items`` where needed. At the last
    micro-batch of a step, after averaging over processes and before clipping, ``edit_gradients`` finds the task
    gradient in each parameter's ``.grad`` and gets the second one.

    Both gradients are accumulated over micro-batches. Memory: one copy of the gradients beyond the stock trainer's,
    and while a further micro-batch is added, that micro-batch's own. Where ``edits_on_arrival``, each tensor of that
    copy is let go as soon as the last backward pass has its task gradient.

    UsageError at construction for set-ups whose gradients are sharded, scaled or consumed on the way: FSDP, DeepSpeed,
    tensor parallelism, one process with several devices, fp16, layer-wise optimisers, the argument ``torch_compile``
    and reentrant activation checkpointing. A model that its user has compiled, ``torch.compile(model)``, is trained.
    """

    own_columns: tuple[str, ...] = ()
    """Columns of a batch that ``second_loss`` may read and the model must not get."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._second: Gradients = {}
        self._taking_second = False
        self.second_flows = False
        """True while the second gradient is taken: for what is to hold back the task's gradient alone."""
        self._second_total: float | None = None
        self._noted: dict[str, list[tuple[Tensor | float, float]]] = {}
        super().__init__(*args, **kwargs)
        _refuse_unsupported(self)

    def watch_forward(self, model: nn.Module, inputs: dict[str, Any]) -> AbstractContextManager[Any]:
        """Opened around the forward; what it gives reaches ``second_loss`` as ``seen``."""
        return nullcontext()

    def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
        """The second loss of one micro-batch as a mean over its ``second_items``; None where there is none.

        ``outputs`` are those of the model's forward, ``inputs`` all columns of the batch.
        """
        return None

    def second_items(self, inputs: dict[str, Any]) -> int | None:
        """How many things the second loss of these inputs is a mean over; None weighs all micro-batches alike.

        With numbers, micro-batches (and processes) of unequal sizes give the gradient of the mean over all of them.
        """
        return None

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        """Change the parameters' ``.grad``; ``second`` holds the second gradient where it is not missing."""

    @property
    def edits_on_arrival(self) -> bool:
        """Whether ``edit_gradient`` is called for each tensor during the last micro-batch's backward pass.

        Only where each tensor's edit needs no other's gradients, and no averaging over processes comes after.
        """
        return False

    def edit_gradient(self, number: int, parameter: nn.Parameter, second: Tensor | None) -> None:
        """Change or take one parameter's ``.grad``, the ``number``-th of ``trainable``, given its second gradient.

        Parameters that the last micro-batch gave no task gradient don't arrive: ``edit_gradients``, which follows,
        finds what is left of the second gradient.
        """

    def note(self, name: str, value: Tensor | float, weight: float = 1.0) -> None:
        """Put a number into the log: the weighted mean since its last line, over all processes.

        Tensors are read only then.
        """
        self._noted.setdefault(name, []).append((value.detach() if isinstance(value, Tensor) else value, weight))

    @property
    def network(self) -> nn.Module:
        """The model that is trained, outside of any wrapper for several processes."""
        return cast(nn.Module, self.model)

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that get gradients, in the model's order."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The stock step; at the last micro-batch the gradients are then edited."""
        arriving = self.edits_on_arrival and self.accelerator.sync_gradients
        with self._second_taken(), on_arrival(self.trainable(), self._edit_one) if arriving else nullcontext():
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            second = self._averaged(self._second)
            self._second = {}
            with torch.no_grad():
                self.edit_gradients(model, second)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The stock loss; inside a training step the second gradient is taken from the same outputs."""
        given = dict(inputs)  # trainers change what they are given
        if self.own_columns:
            inputs = {name: value for name, value in inputs.items() if name not in self.own_columns}
        if not self._taking_second:
            with cut_images_are_told(self.network):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with (
            cut_images_are_told(self.network),
            self.watch_forward(model, given) as seen,
            _first_output(model) as outputs,
        ):
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        second = self.second_loss(model, given, outputs[0], seen)
        if second is not None:
            self._accumulate(second * self._share(given))
        return loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The stock micro-batches of one step; what the second loss is a mean over is counted across them."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._second = {}  # also after a step that was broken off
        counts = [self.second_items(batch) for batch in batches]
        self._second_total = None
        if counts and None not in counts:
            total = torch.tensor(float(sum(count or 0 for count in counts)), device=self.args.device)
            if self.accelerator.num_processes > 1:
                total = self.accelerator.reduce(total, reduction="sum")
            self._second_total = float(total)
        return batches, items

    def gradients(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Gradients, Gradients]:
        """Task and second gradient of one batch by itself, outside training: averaged over processes, nothing kept.

        What the second loss notes for the log is dropped.
        """
        loss, second = self._two_losses(model, inputs)
        later = {} if second is None else self._second_gradients(second)
        return self._averaged(_gradients(loss, self.trainable())), self._averaged(later)

    def stream_gradients(
        self, model: nn.Module, inputs: dict[str, Any], receive: Callable[[nn.Parameter, Tensor, Tensor | None], None]
    ) -> Gradients:
        """``gradients`` a tensor at a time, so that the task's are never held together; what is left of the second.

        ``receive`` gets each parameter with its task gradient and its second one. For one process: there is no moment
        at which tensors could be averaged over several.
        """
        loss, second = self._two_losses(model, inputs)
        later = {} if second is None else self._second_gradients(second)

        def take(_number: int, parameter: nn.Parameter) -> None:
            task, parameter.grad = cast(Tensor, parameter.grad), None
            receive(parameter, task, later.pop(parameter, None))

        with on_arrival(self.trainable(), take):
            loss.backward()
        return later

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The stock line with the noted numbers added to that of a training step."""
        if "loss" in logs:
            sums = {
                name: (sum(float(value) * weight for value, weight in pairs), sum(weight for _, weight in pairs))
                for name, pairs in self._noted.items()
            }
            everywhere = [sums] * self.accelerator.num_processes
            if len(everywhere) > 1:
                distributed.all_gather_object(everywhere, sums)
            for name in dict.fromkeys(name for own in everywhere for name in own):
                parts = [own[name] for own in everywhere if name in own]
                logs[name] = sum(total for total, _ in parts) / sum(weight for _, weight in parts)
            self._noted = {}
        super().log(logs, start_time)

    def _two_losses(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Task and second loss of one batch, outside training."""
        noted, self._noted = self._noted, {}
        given = dict(self._prepare_inputs(inputs))
        inputs = {name: value for name, value in given.items() if name not in self.own_columns}
        with self.watch_forward(model, given) as seen, _first_output(model) as outputs:
            loss = cast(Tensor, super().compute_loss(model, inputs))
        second = self.second_loss(model, given, outputs[0], seen)
        self._noted = noted
        return loss, second

    def _edit_one(self, number: int, parameter: nn.Parameter) -> None:
        self.edit_gradient(number, parameter, self._second.pop(parameter, None))

    @contextmanager
    def _second_taken(self) -> Iterator[None]:
        self._taking_second = True
        try:
            yield
        finally:
            self._taking_second = False

    def _share(self, inputs: dict[str, Any]) -> float:
        """The weight of a micro-batch's mean, such that the mean over processes of the sums is the whole mean."""
        here = self.second_items(inputs)
        if here is None or self._second_total is None:
            return 1.0 / self.current_gradient_accumulation_steps
        return here * self.accelerator.num_processes / self._second_total if here else 0.0

    def _accumulate(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise UsageError(
                "the second loss has no gradient; something that it depends on must be trainable, and activation "
                "checkpointing must not be reentrant."
            )
        # autograd.grad rather than backward: it leaves .grad and the hooks on it alone, so that data-parallel
        # averaging still sees exactly one backward pass.
        for parameter, gradient in self._second_gradients(loss).items():
            if parameter in self._second:
                self._second[parameter].add_(gradient)
            else:
                self._second[parameter] = gradient

    def _second_gradients(self, loss: Tensor) -> Gradients:
        self.second_flows = True
        try:
            return _gradients(loss, self.trainable(), retain_graph=True)
        finally:
            self.second_flows = False

    def _averaged(self, gradients: Gradients) -> Gradients:
        """The mean over processes, where a missing gradient counts as zero; missing everywhere stays missing."""
        if self.accelerator.num_processes == 1:
            return gradients
        parameters = self.trainable()
        there = torch.tensor([float(parameter in gradients) for parameter in parameters], device=self.args.device)
        anywhere = self.accelerator.reduce(there, reduction="sum").tolist()
        for parameter, somewhere in zip(parameters, anywhere, strict=True):
            if somewhere:
                own = gradients.get(parameter)
                own = torch.zeros_like(parameter) if own is None else own
                gradients[parameter] = self.accelerator.reduce(own, reduction="mean")
        return gradients


@contextmanager
def _first_output(model: nn.Module) -> Iterator[list[Any]]:
    """Inside, the first output of the model is put into the list: asking the trainer for it may cost a forward."""
    outputs: list[Any] = []
    handle = model.register_forward_hook(lambda _module, _args, output: None if outputs else outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def on_arrival(parameters: Sequence[nn.Parameter], receive: Callable[[int, nn.Parameter], None]) -> Iterator[None]:
    """Inside, a backward pass calls ``receive(number, parameter)`` once a parameter's ``.grad`` is complete."""

    def arrived(number: int, parameter: nn.Parameter) -> None:
        with torch.no_grad():
            receive(number, parameter)

    handles = [
        parameter.register_post_accumulate_grad_hook(partial(arrived, number))
        for number, parameter in enumerate(parameters)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _gradients(loss: Tensor, parameters: Sequence[nn.Parameter], retain_graph: bool = False) -> Gradients:
    gradients = cast(
        tuple[Tensor | None, ...],
        torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True),
    )
    return {
        parameter: gradient.detach()
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    }


def _refuse_unsupported(trainer: Trainer) -> None:
    args = trainer.args
    optimiser = str(getattr(args.optim, "value", args.optim))
    problems = {
        "FSDP": trainer.is_fsdp_enabled or getattr(trainer, "is_fsdp_xla_enabled", False),
        "DeepSpeed": trainer.is_deepspeed_enabled,
        "a model that is sharded when loaded": getattr(trainer, "is_distributed_loading_by_transformers", False),
        "tensor or context parallelism": getattr(trainer.accelerator, "parallelism_config", None) is not None
        and trainer.accelerator.parallelism_config.total_size > 1,
        "several devices in one process": args.n_gpu > 1,
        "fp16": trainer.accelerator.scaler is not None or args.fp16,
        f"the optimiser {optimiser}": "layerwise" in optimiser or "lomo" in optimiser,
        "torch_compile": args.torch_compile,
        "reentrant activation checkpointing": any(
            (getattr(args, f"{name}_checkpointing_kwargs", None) or {}).get("use_reentrant", False)
            for name in ("activation", "gradient")
        ),
    }
    present = [name for name, applies in problems.items() if applies]
    if present:
        raise UsageError(
            f"two gradients a step are not supported with {' and '.join(present)}; use bf16 or full precision, an "
            "ordinary optimiser, and one process a device with data parallelism at most."
        )
