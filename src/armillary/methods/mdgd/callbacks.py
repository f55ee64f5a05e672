"""Effective rank and drift of the image tokens' states while any trainer runs.

Shapes: I images, N image tokens of one image, D hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import TrainerCallback

from armillary.errors import UsageError
from armillary.methods.mdgd.config import MDGDSettings, chosen_layers
from armillary.methods.mdgd.core import decouple
from armillary.methods.mdgd.drift import Batch, image_token_mask, relative_drift, visual_hidden_states
from armillary.methods.mdgd.reference import evaluating
from armillary.models.vision import find_vision_anatomy
from armillary.numerics.spectrum import effective_rank, rms_normalised, sink_rows
from armillary.training.second_gradient import Gradients


@dataclass(frozen=True, kw_only=True)
class VisualRank:
    """Effective ranks (Roy and Vetterli 2007) of one layer's image states; between 1 and the number of rows."""

    layer: int
    per_image: float | None
    """Mean over images, rows being an image's tokens; None where images have fewer than two."""

    per_image_centred: float | None
    dataset: float
    """Of the images' mean states, one row an image."""

    dataset_centred: float
    images: int
    drift: float | None = None
    """``relative_drift`` over all image tokens; None without a baseline."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def visual_rank(
    states: Sequence[Float[Tensor, "_ d"]], layer: int = 0, *, normalise: bool = True, drift: float | None = None
) -> VisualRank:
    """The ranks of one layer from each image's states ``[N, D]``, in float64.

    Every token has unit root mean square first, and attention sinks (``sink_rows`` of all images' tokens together) are
    left out: else a rank is that of one huge channel. Without ``normalise`` states are as they are, as papers draw
    them. UsageError for fewer than two images: the data set's rank would be 1 whatever they show.
    """
    if len(states) < 2:
        raise UsageError(f"effective rank over images needs at least 2 of them; got {len(states)}.")
    rows = [x.double().cpu() for x in states]
    if normalise:
        sinks = sink_rows(torch.cat(rows)).split([len(x) for x in rows])
        # An image of nothing but sinks keeps them: it must have some state.
        rows = [rms_normalised(x if bool(sink.all()) else x[~sink]) for x, sink in zip(rows, sinks, strict=True)]
    pooled_ID = torch.stack([x.mean(0) for x in rows])
    several = [x for x in rows if len(x) > 1]
    raw, centred = (
        (sum(effective_rank(x, center=c) for x in several) / len(several) if several else None) for c in (False, True)
    )
    return VisualRank(
        layer=layer,
        per_image=raw,
        per_image_centred=centred,
        dataset=effective_rank(pooled_ID),
        dataset_centred=effective_rank(pooled_ID, center=True),
        images=len(rows),
        drift=drift,
    )


class VisualRankCallback(TrainerCallback):
    """Measures at the start, every ``every`` steps and at the end; the readings are in ``history`` and in the log.

    ``batches`` are collated inputs with images, on any device; one image a row counts as one. ``layers`` as in
    ``MDGDSettings.visual_layers``, ``normalise`` as in ``visual_rank`` and ``relative_drift``. Drift is measured from
    the model given to ``take_baseline``, or from the weights at the start of the training (for a resumed run, those it
    resumed with; ``MDGDTrainer`` takes them before). The model is read in evaluation mode. ModelError for a model
    without images; UsageError for batches without any.
    """

    def __init__(
        self,
        batches: Sequence[Mapping[str, Any]],
        *,
        every: int = 50,
        layers: str = "all",
        normalise: bool = True,
    ) -> None:
        if every < 1 or not batches:
            raise UsageError(f"give at least one batch and every >= 1; got {len(batches)} and {every}.")
        self.batches, self.every, self.layers, self.normalise = list(batches), every, layers, normalise
        self.history: list[tuple[int, tuple[VisualRank, ...]]] = []
        self._baseline: dict[int, Tensor] = {}

    @property
    def has_baseline(self) -> bool:
        """Whether the states are known that drift is measured from."""
        return bool(self._baseline)

    def take_baseline(self, model: nn.Module) -> None:
        """Measure drift from this model from now on."""
        self._baseline = {layer: torch.cat(images) for layer, images in self._states(model).items()}

    def measure(self, model: nn.Module) -> tuple[VisualRank, ...]:
        """One reading of every layer, in order."""
        readings = []
        for layer, images in self._states(model).items():
            before = self._baseline.get(layer)
            drift = None
            if before is not None:
                drift = relative_drift(torch.cat(images), before, normalise=self.normalise)
            readings.append(visual_rank(images, layer, normalise=self.normalise, drift=drift))
        return tuple(readings)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The baseline, unless one was taken, and the first reading."""
        if not self.has_baseline:
            self.take_baseline(kwargs["model"])
        self._record(kwargs["model"], state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A reading every ``every`` steps."""
        if state.global_step % self.every == 0:
            self._record(kwargs["model"], state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last reading."""
        self._record(kwargs["model"], state)

    def _record(self, model: nn.Module, state: Any) -> None:
        if self.history and self.history[-1][0] == state.global_step:
            return
        readings = self.measure(model)
        self.history.append((state.global_step, readings))
        line: dict[str, float] = {"step": state.global_step}
        for reading in readings:
            for name, value in reading.to_dict().items():
                if name not in ("layer", "images") and value is not None:
                    line[f"visual_rank/{reading.layer}/{name}"] = value
        state.log_history.append(line)

    def _states(self, model: nn.Module) -> dict[int, list[Tensor]]:
        inner = getattr(model, "module", model)
        anatomy = find_vision_anatomy(inner)
        layers = chosen_layers(self.layers, anatomy.num_layers)
        device = next(inner.parameters()).device
        by_layer: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        with evaluating(inner):
            for batch in self.batches:
                here: Batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                counts = [n for n in image_token_mask(anatomy, here).sum(1).tolist() if n]
                if not counts:
                    raise UsageError("the batches to look at have no image tokens; give batches with images.")
                for layer, states in zip(layers, visual_hidden_states(inner, here, layers, anatomy), strict=True):
                    by_layer[layer].extend(states.float().cpu().split(counts))
        return by_layer


# Remove the drift component from what the optimiser adds to the weights, rather than from the gradient.
#
# Adam scales each entry by its own history, so an update made from an orthogonal gradient is no longer orthogonal;
# this option (ours) projects the update itself. Weight decay counts as part of it.


class UpdateProjection(TrainerCallback):
    """Around ``optimizer.step``: keeps the weights before it, and takes the drift component out of the difference.

    Memory: a copy of the trainable weights and the visual gradient, during the step. UsageError for the unsigned
    removal together with alignment, which it would undo.
    """

    def __init__(self, settings: MDGDSettings) -> None:
        if settings.projection == "full" and settings.align_weight > 0:
            raise UsageError(
                "projection_of='update' with projection='full' would also remove the alignment; set "
                "visual_align_weight=0 or projection='conflict'."
            )
        self.settings = settings
        self._parameters: list[nn.Parameter] = []
        self._visual: Gradients = {}
        self._before: list[Tensor] = []
        self._seed: int | None = None

    def begin(self, parameters: list[nn.Parameter], visual: Gradients, seed: int | None) -> None:
        """Take in the visual gradient of this step; nothing is projected without one."""
        self._parameters = [parameter for parameter in parameters if visual]
        self._visual, self._seed = visual, seed

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the weights."""
        self._before = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Project what was added. Against the gradient's sign: a step is the negative of what it descends."""
        steps: list[Tensor | None] = [
            before - parameter for before, parameter in zip(self._before, self._parameters, strict=True)
        ]
        visual = [self._visual.get(parameter) for parameter in self._parameters]
        edited, _ = decouple(
            steps,
            visual,
            mode=self.settings.projection or "none",
            scope=self.settings.projection_scope,
            random_seed=self._seed,
        )
        for parameter, before, v, step in zip(self._parameters, self._before, visual, edited, strict=True):
            if v is not None and step is not None:
                parameter.copy_(before - step)
        self._parameters, self._before, self._visual = [], [], {}
