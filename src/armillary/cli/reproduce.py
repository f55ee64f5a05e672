"""``armillary reproduce METHOD``: run a paper's claims at our scale and judge each by its rule."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal, Self

import tyro

from armillary.cards import CARDS
from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, default_folder, read_run
from armillary.errors import CheckFailed, UsageError
from armillary.records.plain import dumps
from armillary.records.record import RunRecord
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_MODEL, ModelSettings, OtherModel

Preset = Literal["quick", "laptop", "gpu"]


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings(ModelSettings):
    """Run the claims of a method's paper and judge each by a rule written beforehand.

    A verdict is holds, fails, undecided with its reason, or not tested. A claim that fails is a result, so the exit
    code stays 0 unless --strict is given.
    """

    command: ClassVar[str] = "reproduce"

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """Which method (`armillary list` shows them), or one of its further experiments (its page names them)."""

    preset: Preset = "laptop"
    """quick proves that the path works, laptop is the scale of the committed results, gpu is larger."""

    model: OtherModel = None
    """Model to judge on; by default those of the preset, one record each."""

    image_model: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Of mdgd_real: what `armillary train connector` made of this model (DIR/model), where it already stands."""

    def models(self) -> dict[str, str]:
        """The one model that is judged on."""
        return {"model": str(self.model)}

    def files(self) -> dict[str, str]:
        """The weights of the model with pictures."""
        return {} if self.image_model is None else {"image_model": f"{self.image_model}/model.safetensors"}

    def names(self) -> tuple[str, ...]:
        """Method, preset and model."""
        return self.method, self.preset, str(self.model)

    def check(self) -> None:
        """Refuse a method that is not there, or whose packages and data are not."""
        if self.image_model is not None and self.method != "mdgd_real":
            raise UsageError(f"--image-model is read by mdgd_real alone; {self.method} would ignore it.")
        reproduction(self.method).check(self)

    def dry(self) -> Self:
        """The quick preset on a tiny model."""
        return replace(self, preset="quick", model=DRY_MODEL, image_model=None)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(RunOptions):
    """What does not change a number."""

    strict: bool = False
    """Exit with 1 when a claim fails."""


FURTHER = {"diff_calibration": "diff_calibration"}
"""Experiments on commands of our own, which no paper's card names, each with its room."""

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


def reproduction(name: str) -> Reproduction:
    """The experiment of that name. UsageError where there is none, or where the reproductions are not installed."""
    rooms = {name: card.name for card in CARDS for name in (card.name, *card.experiments)} | FURTHER
    if name not in rooms:
        near = get_close_matches(name, rooms, n=1, cutoff=0.4) or list(rooms)
        raise UsageError(f"There is no method {name!r}; did you mean {', '.join(near)}?")
    if find_spec("reproductions") is None:
        raise UsageError(
            "The reproductions are not in the installed package: take a checkout of the repository and install it "
            "with `pip install -e .`."
        )
    known: dict[str, Reproduction] = import_module(f"reproductions.{rooms[name]}.run").REPRODUCTIONS
    return known[name]


def reproduce(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim of the experiment measured and judged on one model."""
    outcome = reproduction(run.settings.method).work(run)
    return replace(outcome, title=f"{outcome.title} ({run.settings.preset})")


JOBS = {"reproduce": Job(settings=ReproduceSettings, work=reproduce)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(ReproduceSettings, arguments, ReproduceOptions)
    models = [settings.model] if settings.model else reproduction(settings.method).models(settings.preset)
    records: list[RunRecord] = []
    for model in models:
        chosen = replace(settings, model=model)
        # Several records need a folder each.
        out = options.out
        if out is not None and len(models) > 1:
            out = out / default_folder("reproduce", *chosen.names()).name
        record, folder = execute(JOBS["reproduce"], chosen, replace(options, out=out))
        records.append(record)
        if not options.json:
            print_summary(record, folder, as_json=False)
            print("\n".join(f"  {claim.outcome:28}  {claim.id}: {claim.statement}" for claim in record.claims))
    if options.json:
        data = [record.to_dict() for record in records]
        sys.stdout.write(dumps(data[0] if len(data) == 1 else data, indent=1) + "\n")
    failed = [claim.id for record in records for claim in record.claims if claim.verdict == "fails"]
    if options.strict and failed:
        raise CheckFailed(f"These claims fail: {', '.join(failed)}.")
    return 0
