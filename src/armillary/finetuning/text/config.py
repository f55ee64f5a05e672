"""Settings of ``armillary train text``. Needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

import tyro

from armillary.errors import UsageError
from armillary.runs.settings import DRY_MODEL, ModelSettings, at_least

ADAPTER, MODEL = "adapter", "model"
"""Folder, in that of the run, in which a tune leaves what it made."""


@dataclass(frozen=True, kw_only=True)
class TextConfig(ModelSettings):
    """Tune a language model on rows of text, with an adapter (LoRA) or with all its weights.

    Leaves DIR/adapter, a folder of PEFT's, or DIR/model, and a report of the training. Only answers are learned: what
    precedes them, in the model's own chat template, is read. A run that was killed goes on from its last checkpoint.
    """

    command: ClassVar[str] = "train text"

    rows: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ROWS")]
    """JSONL, CSV or parquet file, or a data set as owner/name: rows with prompt and answer, with messages of which the
    last is the assistant's, or with text (and given, which is read before it and not learned)."""

    model: Annotated[str, tyro.conf.arg(metavar="MODEL")]
    """Packaged name, folder or hub id of the model (`armillary models list` shows the packaged ones)."""

    dtype: str = "auto"
    """Number format of the model's weights; auto takes bfloat16 where the device multiplies in it and an adapter
    learns (which itself is float32), else float32."""

    rank: int = 8
    """Of the adapter; 0 trains every weight and leaves a whole model."""

    alpha: float | None = None
    """The adapter's change is multiplied by alpha / rank; by default alpha is twice the rank."""

    modules: tuple[str, ...] = ()
    """Names of the matrices beside which the adapter stands, as v_proj; by default every one of the layers."""

    top_share: float = 1.0
    """Share of the layers that get an adapter, from the last one down: 0.5 is the upper half."""

    layers: tuple[int, ...] = ()
    """Numbers of the layers that get an adapter, from 0, in place of a share."""

    steps: int | None = None
    """Optimiser steps; by default as many as the epochs have."""

    epochs: float = 3.0
    """How often each row is learned, where no steps are given."""

    batch_size: int = 8
    """Rows in one step, of similar length."""

    learning_rate: float = 2e-4
    """The highest; it rises over the warm-up and falls to zero in a straight line."""

    warmup: float = 0.1
    """Share of the steps in which the rate rises."""

    most_tokens: int | None = None
    """Tokens of a row at most, as many as the model reads by default; what follows is cut, and told."""

    held_out: float = 0.1
    """Share of the rows, five or more, that are not learned: their loss before and after is that of rows like them."""

    def __post_init__(self) -> None:
        at_least(self, rank=0, steps=1, batch_size=1, most_tokens=2)
        for name in ("learning_rate", "epochs", "alpha"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, got {value:g}.")
        if not 0 < self.top_share <= 1:
            raise UsageError(f"top_share must be above 0 and at most 1, got {self.top_share:g}.")
        if self.layers and self.top_share != 1:
            raise UsageError("give layers or top_share, not both.")
        for name in ("warmup", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be 0 or more and below 1, got {getattr(self, name):g}.")
        if self.rank == 0:
            self._check_whole()

    def _check_whole(self) -> None:
        """What does not go with a training of every weight."""
        if self.modules or self.layers or self.top_share != 1 or self.alpha is not None:
            raise UsageError("rank 0 trains every weight; modules, layers, top_share and alpha belong to an adapter.")
        if self.quantize is not None:
            raise UsageError("packed weights can't learn (rank 0 trains every weight); give a rank of 1 or more.")
        if self.dtype in ("bfloat16", "float16"):
            raise UsageError(
                f"weights that learn in {self.dtype} lose small steps to rounding; give rank 1 or more, or dtype auto."
            )

    def models(self) -> dict[str, str]:
        """The one model, in the role "model"."""
        return {"model": self.model}

    def files(self) -> dict[str, str]:
        """The rows, where they are a file."""
        return {"rows": self.rows} if Path(self.rows).exists() else {}

    def names(self) -> tuple[str, ...]:
        """The model and the rows."""
        return (self.model, Path(self.rows).stem)

    def check(self) -> None:
        """Refuse wrong rows, and adapters without PEFT, before the model is opened."""
        from armillary.extras import optional
        from armillary.finetuning.text.rows import read_text_rows

        if self.rank:
            optional("peft", "adapters")
        read_text_rows(self.rows)

    def dry(self) -> Self:
        """A few steps on a tiny random model, which has other layers and may have other names for its matrices."""
        small = replace(self, model=DRY_MODEL, modules=(), layers=(), revision=None, quantize=None)
        return replace(small, steps=min(self.steps or 4, 4), batch_size=min(self.batch_size, 4))


def leaves(config: TextConfig) -> str:
    """Name of the folder that a tune leaves in that of its run."""
    return ADAPTER if config.rank else MODEL


def look(out: Path, config: TextConfig) -> str:
    """The command that shows what a tune in the folder ``out`` changed. An adapter names its base itself."""
    base = "" if config.rank else f"{config.model} "
    return f"armillary diff {base}{out / leaves(config)}"
