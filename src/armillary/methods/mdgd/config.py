"""Settings of modality-decoupled gradient descent; importable without torch.

Defaults marked "paper" are the literal reading of its text; everything else is our choice, since the typeset equations
of its method sections were not at hand. ``preset`` names two sets of them.
"""

from dataclasses import dataclass
from typing import Any, Literal

from armillary.errors import UsageError

Projection = Literal["full", "conflict", "none"]
Scope = Literal["tensor", "global", "row"]
TaskGradient = Literal["all", "text"]
Drift = Literal["l1", "l2", "cosine"]
Reference = Literal["auto", "cache", "copy", "adapter"]
MaskScore = Literal["decoupled_magnitude", "task_magnitude", "ratio", "random"]
Preset = Literal["paper", "recommended"]

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"projection": "full", "visual_align_weight": 1.0, "task_gradient": "all"},
    "recommended": {"projection": "none", "visual_align_weight": 0.0, "task_gradient": "text"},
}
"""``paper`` removes the component along the drift whatever its sign, and aligns, as its text says. ``recommended`` is
the simplest way that kept the old tasks in our small models (docs/methods/mdgd.md): the task's gradient reaches the
weights through text tokens alone, and no drift is measured."""

_WORDS: dict[str, tuple[str, ...]] = {
    "projection": ("full", "conflict", "none"),
    "projection_scope": ("tensor", "global", "row"),
    "projection_direction": ("visual", "random"),
    "projection_of": ("gradient", "update"),
    "task_gradient": ("all", "text"),
    "drift_loss": ("l1", "l2", "cosine"),
    "reference": ("auto", "cache", "copy", "adapter"),
    "mask_score": ("decoupled_magnitude", "task_magnitude", "ratio", "random"),
}


@dataclass(kw_only=True)
class MDGDSettings:
    """What the method does in a step; a value left at None is the preset's."""

    preset: Preset = "recommended"
    """Where values left at None come from."""

    projection: Projection | None = None
    """Remove the drift component of the task gradient always (``full``), where it raises the drift (``conflict``), or
    never (``none``)."""

    projection_scope: Scope = "tensor"
    """What one projection covers: a parameter tensor, all as one vector, or each row of a tensor."""

    projection_direction: Literal["visual", "random"] = "visual"
    """``random`` is the control that must do nothing."""

    projection_of: Literal["gradient", "update"] = "gradient"
    """``update`` projects what the optimiser adds, which Adam's scaling does not bend afterwards."""

    task_gradient: TaskGradient | None = None
    """Tokens through which the task's gradient reaches the weights: ``all``, or those of the ``text`` alone, for which
    the keys and values of image tokens are constants, so that the connector rests. Ours, and the simplest thing that
    "decoupled" can mean. Where it is left out beside a projection or a weight of one's own, ``all``."""

    visual_align_weight: float | None = None
    """Weight of the drift's own gradient, which pulls image states back; 0 for none."""

    visual_layers: str = "all_but_last"
    """Decoder layers whose image states are held: ``all_but_last``, ``all``, ``last``, or numbers such as ``0,3,7``.
    The answer never attends to what the last layer makes of an image."""

    drift_loss: Drift = "l1"
    """Distance of image states. The paper's is remembered as L1."""

    normalise_rows: bool = True
    """Divide each token's state by its root mean square before comparing."""

    drift_tolerance: float | None = None
    """Differences up to this count as none; None takes the rounding of the precision in use."""

    reference: Reference = "auto"
    """Image states before training: a ``cache`` an image, a frozen ``copy`` of the model, or the model without its
    ``adapter``. ``auto`` takes the adapter of a PEFT model where only the adapter is trained and does nothing yet
    (tried on a first batch), and else a copy, which shares what is frozen."""

    reference_cache_gib: float = 8.0
    """Memory that the cache may take, in GiB."""

    mask_ratio: float = 1.0
    """Share of each tensor's entries that may change (MDGD-GM): 1 for no mask; about 0.1 in this line of work."""

    mask_score: MaskScore = "decoupled_magnitude"
    """What the kept entries are largest in."""

    mask_batches: int = 8
    """Batches over which scores are averaged before training."""

    mask_probe: float = 1e-3
    """Length of the step off the pre-trained weights at which scores are read, relative to the weights'. In bfloat16
    weights a step as small as this is partly lost to rounding."""

    log_erank_steps: int = 0
    """Effective rank and drift of image states every so many steps; 0 for never."""

    freeze_vision: bool = True
    """Keep the vision tower fixed, as the paper does."""

    def resolve(self) -> None:
        """Fill in the preset and check every value. UsageError names the value and what is accepted."""
        if self.preset not in PRESETS:
            raise UsageError(f"preset must be 'paper' or 'recommended'; got {self.preset!r}.")
        if self.task_gradient is None and (self.projection is not None or self.visual_align_weight is not None):
            self.task_gradient = "all"
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        for name, accepted in _WORDS.items():
            if getattr(self, name) not in accepted:
                raise UsageError(f"{name} must be one of {', '.join(accepted)}; got {getattr(self, name)!r}.")
        if not 0 < self.mask_ratio <= 1:
            raise UsageError(f"mask_ratio is a share, above 0 and up to 1 for no mask; got {self.mask_ratio}.")
        if self.align_weight < 0:
            raise UsageError(f"visual_align_weight must be 0 or more; got {self.visual_align_weight}.")
        for name in ("mask_probe", "reference_cache_gib"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0; got {getattr(self, name)}.")
        if self.drift_tolerance is not None and self.drift_tolerance < 0:
            raise UsageError(f"drift_tolerance must be 0 or more; got {self.drift_tolerance}.")
        if self.mask_batches < 1 or self.log_erank_steps < 0:
            raise UsageError(
                f"mask_batches must be 1 or more and log_erank_steps 0 or more; got {self.mask_batches} and "
                f"{self.log_erank_steps}."
            )
        if self.mask_ratio < 1 and self.projection_of == "update":
            raise UsageError("projection_of='update' moves every entry, so it can't be used with mask_ratio below 1.")
        if self.projection_of == "update" and self.projection == "none":
            raise UsageError("projection_of='update' needs a projection; accepted: projection='full' or 'conflict'.")

    @property
    def align_weight(self) -> float:
        """``visual_align_weight``, 0 while it is unset."""
        return self.visual_align_weight or 0.0

    @property
    def reads_images(self) -> bool:
        """False where neither projection nor alignment is asked for, so that no drift need be measured."""
        return self.projection != "none" or self.align_weight > 0


def chosen_layers(words: str, depth: int) -> tuple[int, ...]:
    """Numbers of the decoder layers that ``visual_layers`` names, in order. UsageError for none or a wrong number."""
    named = {"all": range(depth), "all_but_last": range(max(1, depth - 1)), "last": range(depth - 1, depth)}
    if words in named:
        return tuple(named[words])
    try:
        numbers = sorted({int(word) for word in words.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not (numbers[0] >= 0 and numbers[-1] < depth):
        raise UsageError(
            f"visual_layers must be 'all_but_last', 'all', 'last' or numbers from 0 to {depth - 1} such as '0,1'; "
            f"got {words!r}."
        )
    return tuple(numbers)
