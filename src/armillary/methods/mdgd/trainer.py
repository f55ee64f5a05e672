"""Modality-decoupled gradient descent as a trainer: ``MDGDTrainer``, and ``MDGDMixin`` for trainers of one's own."""

import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.methods.mdgd.callbacks import UpdateProjection, VisualRankCallback
from armillary.methods.mdgd.config import MDGDSettings, chosen_layers
from armillary.methods.mdgd.core import DecouplingStatistics, decouple_
from armillary.methods.mdgd.drift import (
    OWN_COLUMNS,
    ROUNDING,
    body_of,
    drift_loss,
    held_back,
    image_token_mask,
    visual_hidden_states,
    watch,
)
from armillary.methods.mdgd.masking import MaskedAdamW, dataset_batches, kept_positions, unchanged_random
from armillary.methods.mdgd.reference import (
    AdapterReference,
    CachedReference,
    CopiedReference,
    StateReference,
    evaluating,
    weights_digest,
)
from armillary.models.vision import VisionAnatomy, find_vision_anatomy
from armillary.training.checkpoints import trained_besides
from armillary.training.second_gradient import Gradients, SecondGradientMixin

# Which weights drift is measured from, also after a run was killed: taken once, kept in the run's folder.

RECORD, STATES = "visual_reference.json", "visual_reference.safetensors"


def take_reference(trainer: "MDGDMixin", *, resuming: str | bool | None) -> StateReference:
    """The states before training of the trainer's kind, from its model as it is now or its ``reference_model``.

    A resumed run must be given the weights that it began with, and finds its cache again. UsageError where it is given
    others, and for the kind ``adapter`` where the model without its adapter is not the one that training begins with.
    """
    kind = trainer.settings.reference
    model: nn.Module = trainer.reference_model if trainer.reference_model is not None else trainer.network
    own = model is trainer.network
    if kind == "auto" and not (own and hasattr(model, "disable_adapter")):
        kind = "copy"
    checkpoint: Any = get_last_checkpoint(trainer.args.output_dir) if resuming is True else resuming
    folder = Path(checkpoint).parent if checkpoint else Path(str(trainer.args.output_dir))
    states = folder / STATES
    if resuming and kind == "cache" and states.exists():
        cache = CachedReference.load(states)
        if cache.layers == trainer.layers:
            return cache
    model.to(trainer.args.device)
    if kind in ("auto", "adapter"):
        another = "" if own else "another model was given as reference_model"
        fault = another or _adapter_fault(trainer, AdapterReference(model, trainer.layers))
        if fault and kind == "adapter":
            raise UsageError(
                f"reference='adapter' takes the model without its adapter for the one that training begins with, but "
                f"{fault}; use 'auto', or 'copy', which shares what is frozen."
            )
        kind = "copy" if fault else "adapter"
    # A new adapter is drawn anew when a run is resumed, and does nothing: its weights are no mark of the beginning.
    digest = weights_digest(model) if own and kind != "adapter" else None
    if resuming and own:
        _check_beginning(folder / RECORD, digest, kind)
    reference: StateReference
    if kind == "adapter":
        reference = AdapterReference(model, trainer.layers)
    else:
        reference = CopiedReference(model, trainer.layers) if kind == "copy" else _cached(trainer, model)
    if trainer.is_world_process_zero() and not resuming:
        record = {"weights": digest, "layers": list(trainer.layers), "kind": kind}
        write_atomic(folder / RECORD, json.dumps(record))
        if isinstance(reference, CachedReference):
            reference.save(states)
    return reference


def _adapter_fault(trainer: "MDGDMixin", reference: AdapterReference) -> str:
    """Why the model without its adapter is not what training begins with, in part of a sentence; empty where it is."""
    if besides := trained_besides(reference.model):
        return f"{next(iter(besides))} is trained too, with or without it"
    if not hasattr(trainer.train_dataset, "__len__"):
        return "the training set is a stream, on which that can't be tried"
    with unchanged_random(trainer.args.device), trainer.accelerator.autocast():
        for batch in dataset_batches(trainer):
            mask = image_token_mask(trainer.anatomy, batch)
            if bool(mask.any()):
                with evaluating(reference.model):
                    now = visual_hidden_states(reference.model, batch, trainer.layers, trainer.anatomy)
                drift = float(trainer.drift(now, reference.states(batch, mask)))
                return f"it has moved the image states already, by {drift:.2g}" if drift else ""
    return ""


def _cached(trainer: "MDGDMixin", model: nn.Module) -> CachedReference:
    if not hasattr(trainer.train_dataset, "__len__"):
        raise UsageError("reference='cache' needs a training set of known length; use 'copy' for a stream.")
    with unchanged_random(trainer.args.device), trainer.accelerator.autocast():
        return CachedReference.build(
            model,
            dataset_batches(trainer),
            trainer.layers,
            limit_gib=trainer.settings.reference_cache_gib,
            processor_marks=trainer.processor_marks,
        )


def _check_beginning(record: Path, digest: str | None, kind: str) -> None:
    """UsageError where a run began with other weights, or did not write with which."""
    began: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {}
    if kind != "adapter" and (not began or began["weights"] != digest or began.get("kind", kind) != kind):
        raise UsageError(
            "the model to resume with is not the one that the run began with"
            + ("" if began else f" so far as is known ({record} is missing)")
            + ", so its image states are no reference; give the pre-trained model (its checkpoint is loaded by "
            "resuming), or reference_model."
        )


STALLED_AFTER, STALLED_SHARE = 0.1, 0.05
"""Share of the steps after which, and of the loss by which, the task should have moved; else alignment is named as a
possible cause. A warning only: a task that is learned late gives it too."""

TEXT_ONLY_ROWS = 64
"""Rows after which it is told that most have no image: enough to know, early enough to stop."""


class MDGDMixin(SecondGradientMixin):
    """To stand before a trainer class: ``class Mine(MDGDMixin, SFTTrainer)``.

    ``settings`` may be left out where ``args`` are an ``MDGDConfig`` or the like. ``reference_model`` is the model
    before training, where it is not the one that is given to be trained. ``rank_batch`` are the images that
    ``log_erank_steps`` looks at. ``processor_marks`` are token ids that a processor puts before images, for the cache.

    The reference is taken when ``train`` is first called, and kept with the run: a resumed run measures drift from the
    same weights, or refuses. Columns ``image_token_mask`` and ``image_key`` of a batch are read and not shown to the
    model (set ``remove_unused_columns=False``).

    The log gets ``visual_drift``, ``gradient_cosine``, ``gradient_removed`` (share of the task gradient's squared
    norm) and ``gradient_conflicting``. A batch without images makes a plain step.
    ModelError for a model without images, UsageError for settings that are not accepted.
    """

    own_columns = OWN_COLUMNS

    def __init__(
        self,
        *args: Any,
        settings: MDGDSettings | None = None,
        reference_model: nn.Module | None = None,
        rank_batch: dict[str, Any] | None = None,
        processor_marks: Collection[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        own: object = self.args
        self.settings: MDGDSettings = settings or (own if isinstance(own, MDGDSettings) else MDGDSettings())
        self.settings.resolve()
        if getattr(self, "model_init", None) is not None:
            raise UsageError("model_init makes other weights at each training; give the model itself.")
        body_of(self.network)  # which refuses adapters that it would not see
        self.anatomy: VisionAnatomy = find_vision_anatomy(self.network)
        self.layers: tuple[int, ...] = chosen_layers(self.settings.visual_layers, self.anatomy.num_layers)
        self.reference_model: nn.Module | None = reference_model
        self.processor_marks: tuple[int, ...] = tuple(processor_marks)
        self._reference: StateReference | None = None
        self._resuming: bool = False
        self._rows: int = 0
        self._rows_with_images: int = 0
        self._early_losses: list[Tensor] = []
        self._drifted = False
        self._edited: set[int] = set()
        self._statistics: list[DecouplingStatistics] = []
        if self.settings.freeze_vision:
            for name, parameter in self.network.named_parameters():
                if parameter.requires_grad and self.anatomy.component(name) == "vision_tower":
                    parameter.requires_grad_(False)
        if self.settings.projection_of == "update":
            self.add_callback(UpdateProjection(self.settings))
        if self.settings.log_erank_steps:
            if rank_batch is None:
                raise UsageError("log_erank_steps needs rank_batch: a collated batch of images to look at.")
            self.add_callback(VisualRankCallback([rank_batch], every=self.settings.log_erank_steps))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """The stock training; the reference is taken, or found again, before it."""
        self._resuming = bool(resume_from_checkpoint)
        if self.settings.reads_images and self._reference is None:
            self._reference = take_reference(self, resuming=resume_from_checkpoint)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, VisualRankCallback) and not callback.has_baseline:
                # Before a checkpoint is loaded: its drift too is measured from where the run began.
                callback.take_baseline(self.network if self.reference_model is None else self.reference_model)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    @contextmanager
    def watch_forward(self, model: nn.Module, inputs: dict[str, Any]) -> Iterator[Any]:
        """Catches the image states of the forward, where the batch has images, and holds back what is not to flow."""
        holds = self.settings.task_gradient == "text"
        if not (self.settings.reads_images or holds):
            yield None
            return
        mask = image_token_mask(self.anatomy, inputs)
        rows = int(mask.any(1).sum())
        self._rows, self._rows_with_images = self._rows + len(mask), self._rows_with_images + rows
        watched = {layer: self.anatomy.layers[layer] for layer in self.layers}
        with (
            held_back(self.anatomy.layers, mask, lambda: self.second_flows) if holds and rows else nullcontext(),
            watch(watched, mask) if self.settings.reads_images and rows else nullcontext() as seen,
        ):
            yield seen

    def second_items(self, inputs: dict[str, Any]) -> int | None:
        """The number of image tokens: the drift is a mean over them."""
        return int(image_token_mask(self.anatomy, inputs).sum()) if self.settings.reads_images else None

    def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
        """The visual drift of this batch."""
        if seen is None:
            return None
        if self._reference is None:
            self._reference = take_reference(self, resuming=None)
        now = seen.states(self.layers)
        with self.accelerator.autocast():
            before = self._reference.states(inputs, seen.mask)
        loss = self.drift(now, before)
        self._drifted = True
        self.note("visual_drift", loss, weight=int(seen.mask.sum()))
        return loss

    def drift(self, now: Sequence[Float[Tensor, "n d"]], before: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, ""]:
        """``drift_loss`` by the settings; differences within the rounding of the precision in use count as none."""
        precision = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else now[0].dtype
        tolerance = self.settings.drift_tolerance
        return drift_loss(
            now,
            before,
            self.settings.drift_loss,
            normalise=self.settings.normalise_rows,
            tolerance=ROUNDING[precision] if tolerance is None else tolerance,
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The stock step with decoupled gradients."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._warn(loss.detach())
        return loss

    @property
    def edits_on_arrival(self) -> bool:
        """Where each tensor is projected by itself, in one process; not of updates, which need the second gradient."""
        settings = self.settings
        alone = settings.projection_scope != "global" and settings.projection_of == "gradient"
        return alone and self.accelerator.num_processes == 1

    def edit_gradient(self, number: int, parameter: nn.Parameter, second: Tensor | None) -> None:
        """Project, align and mask the gradient of one tensor."""
        self._edited.add(number)
        if self._drifted:
            self._statistics.append(self._decoupled([parameter], [second], number))
        if self._masked is not None:
            self._masked.take(parameter)

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        """Project, align and mask the gradients of the step, those apart that were on arrival."""
        parameters = self.trainable()
        if self.edits_on_arrival:
            for number, parameter in enumerate(parameters):
                if number not in self._edited:
                    self.edit_gradient(number, parameter, second.get(parameter))
        elif second:
            self._statistics = [self._decoupled(parameters, [second.get(parameter) for parameter in parameters])]
        if self._statistics:
            statistics = DecouplingStatistics.total(self._statistics)
            for name in ("cosine", "removed", "conflicting"):
                self.note(f"gradient_{name}", getattr(statistics, name))
        self._drifted, self._edited, self._statistics = False, set(), []
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, UpdateProjection):
                callback.begin(parameters, second, self.direction_seed)
        if self._masked is not None:
            for parameter in parameters:
                self._masked.take(parameter)

    def _decoupled(
        self, parameters: list[nn.Parameter], second_P: list[Tensor | None], first: int = 0
    ) -> DecouplingStatistics:
        settings = self.settings
        return decouple_(
            parameters,
            second_P,
            mode="none" if settings.projection_of == "update" else cast(Any, settings.projection),
            scope=settings.projection_scope,
            align_weight=settings.align_weight,
            random_seed=self.direction_seed,
            first=first,
        )

    @property
    def _masked(self) -> MaskedAdamW | None:
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return optimizer if isinstance(optimizer, MaskedAdamW) else None

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """The stock clipping, or with a mask that of the entries which the optimiser has taken."""
        masked, stock = self._masked, cast(Any, super())
        return stock._clip_grad_norm(model) if masked is None else masked.clip(self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        masked, stock = self._masked, cast(Any, super())
        return stock._get_grad_norm(model, grad_norm=masked.clip() if masked and grad_norm is None else grad_norm)

    @property
    def direction_seed(self) -> int | None:
        """The seed of this step's random direction; None for the visual one."""
        random = self.settings.projection_direction == "random"
        return self.args.seed * 100_003 + self.state.global_step if random else None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The stock optimiser, or with a mask the AdamW that moves and remembers the kept entries only."""
        if self.settings.mask_ratio == 1 or isinstance(self.optimizer, MaskedAdamW):
            return super().create_optimizer(model)
        kind = str(getattr(self.args.optim, "value", self.args.optim))
        if self.optimizer is not None or self.optimizer_cls_and_kwargs is not None or "adamw_torch" not in kind:
            what = kind if self.optimizer is None else type(self.optimizer).__name__
            raise UsageError(
                f"mask_ratio below 1 needs the AdamW that stores the kept entries only (optim='adamw_torch'); got "
                f"{what}."
            )
        groups = [
            {"params": group["params"], "weight_decay": group["weight_decay"]}
            for group in super().create_optimizer(model).param_groups
        ]
        self.optimizer = None
        positions = None if self._resuming else kept_positions(self, self.settings)
        self.optimizer = MaskedAdamW(
            groups,
            positions,
            lr=self.args.learning_rate,
            betas=(self.args.adam_beta1, self.args.adam_beta2),
            eps=self.args.adam_epsilon,
        )
        return self.optimizer

    def _warn(self, loss: Tensor) -> None:
        """Say once when most rows have no image, and when alignment seems to hold the task back."""
        if self._rows >= TEXT_ONLY_ROWS:
            if self._rows_with_images < self._rows / 2:
                warnings.warn(
                    f"only {self._rows_with_images} of the first {self._rows} rows have an image; the others make "
                    "plain steps.",
                    stacklevel=2,
                )
            self._rows = -(10**12)
        end = int(STALLED_AFTER * self.state.max_steps)
        if self.settings.align_weight == 0 or end < 10 or self.state.global_step >= end:
            return
        self._early_losses.append(loss)
        if self.state.global_step == end - 1 and self.accelerator.sync_gradients:
            fifth = max(1, len(self._early_losses) // 5)
            parts = (self._early_losses[:fifth], self._early_losses[-fifth:])
            first, last = (float(torch.stack(part).mean()) for part in parts)
            if last > (1 - STALLED_SHARE) * first:
                warnings.warn(
                    f"the task loss went from {first:.3g} to {last:.3g} in the first {end} steps; "
                    f"visual_align_weight={self.settings.align_weight:g} may hold it back.",
                    stacklevel=2,
                )


class MDGDTrainer(MDGDMixin, Trainer):
    """``transformers.Trainer`` with decoupled gradients; takes an ``MDGDConfig`` as ``args``."""


# The method's settings as training arguments.


@dataclass
class MDGDConfig(MDGDSettings, TrainingArguments):
    """``TrainingArguments`` with the fields of ``MDGDSettings``, as ``MDGDTrainer`` takes them.

    For another trainer's arguments write the same two lines: ``class Mine(MDGDSettings, SFTConfig)`` under
    ``@dataclass``. UsageError for a value that is not accepted.
    """

    def __post_init__(self) -> None:
        self.resolve()
        super().__post_init__()  # type: ignore[no-untyped-call]
