"""A progress bar of ours that moves with a Trainer's steps."""

from typing import Any

from transformers import TrainerCallback

from armillary.progress import Counter


class StepBar(TrainerCallback):
    """Moves a bar with the steps, from where a resumed run begins."""

    def __init__(self, bar: Counter) -> None:
        self._bar = bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """To the step that the run begins with."""
        self._bar.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One further."""
        self._bar.advance()
