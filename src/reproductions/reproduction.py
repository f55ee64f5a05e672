"""What every reproduction is: the models it is judged on by default, and the work that measures and judges."""

from collections.abc import Callable
from dataclasses import dataclass

from armillary.cli.reproduce import Preset, ReproduceSettings
from armillary.runs.run import Outcome, Run

SMALL, BOTH = ("smollm2-135m-instruct",), ("smollm2-135m-instruct", "gemma-3-270m")
"""The packaged models that fit a laptop: the smaller alone where a run takes hours."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """One experiment on the claims of a paper."""

    work: Callable[[Run[ReproduceSettings]], Outcome]
    """Runs the stages, which it keeps as parts of the run, and judges each claim by its rule."""

    laptop: tuple[str, ...] = SMALL
    """Models judged at the laptop preset where none is named, one record each."""

    gpu: tuple[str, ...] = SMALL
    """The same at the preset for a graphics card."""

    check: Callable[[ReproduceSettings], None] = lambda _: None
    """Refuses, before the model is opened, what would else stop the run after an hour: a package, a download."""

    def models(self, preset: Preset) -> tuple[str, ...]:
        """Models judged by default; a tiny random one proves that the path works."""
        return {"quick": ("tiny-llama",), "laptop": self.laptop, "gpu": self.gpu}[preset]
