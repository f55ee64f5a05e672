"""Settings of the trainings that differ in nothing but order; importable without torch."""

from dataclasses import dataclass

from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Sizes of a small decoder that is trained from scratch: [derived] the paper's models are not known."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    positions: int = 512
    """Tokens of a row at most."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "positions"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if self.width % (2 * self.heads):
            raise UsageError(f"width must be an even multiple of heads, got {self.width} and {self.heads}.")


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """One training; every order has the same but its rows. UsageError for what is out of range."""

    steps: int = 900
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    """Steps in which the rate rises; then it falls along a cosine."""

    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""

    save_steps: int | None = None
    """Steps between checkpoints, where a folder for them is given; None: a tenth of the training."""

    seed: int = 0
    """Of the order in which rows come."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate must be above 0, got {self.learning_rate}.")
        if self.warmup_steps < 0 or self.weight_decay < 0 or self.clip <= 0:
            raise UsageError(
                "warmup_steps and weight_decay must be 0 or more and clip above 0, got "
                f"{self.warmup_steps}, {self.weight_decay} and {self.clip}."
            )
        if self.save_steps is not None and self.save_steps < 1:
            raise UsageError(f"save_steps must be 1 or more, got {self.save_steps}.")


BETAS = (0.9, 0.95)
"""Of AdamW, as language models are usually trained from scratch; [derived] the paper's settings are not known."""
