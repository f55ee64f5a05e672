"""``armillary diff`` on copies of a model of which it is known how they differ: ``reproduce diff_calibration``.

A page is made of each plant, then many of the base beside itself. Whole models are thrown away after their page;
adapters stay among the parts of the run until it is finished.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.models import LoadedModel, load
from armillary.runs.run import Outcome, Run
from reproductions.diff_calibration.claims import CLAIMS
from reproductions.diff_calibration.making import made_page
from reproductions.diff_calibration.measures import measures
from reproductions.diff_calibration.nulls import NullPage, rounding_page
from reproductions.diff_calibration.pages import Page
from reproductions.diff_calibration.plants import TUNES, Plant, plants, trained_adapter
from reproductions.diff_calibration.report import calibration_sections
from reproductions.diff_calibration.scale import SCALES, Scale
from reproductions.page import judged_outcome
from reproductions.stages import Stages, counted_stages


def all_plants(scale: Scale, seed: int) -> list[Plant]:
    """Those of the page in their order."""
    return [replace(plant, seed=seed) for plant in plants(scale.noise, scale.factors)]


class NullModels:
    """Base and a copy to be overwritten, opened when the first page asks for them and kept for the others."""

    def __init__(self, base: str, dtype: str) -> None:
        self._base, self._dtype = base, dtype
        self._open: tuple[LoadedModel, LoadedModel] | None = None

    def page(self, scale: Scale, seed: int) -> NullPage:
        """A page of rounding with this seed."""
        if self._open is None:
            first, second = (load(self._base, dtype=self._dtype, device="cpu") for _ in range(2))
            self._open = (first, second)
        return rounding_page(*self._open, scale.nulls, seed)


def calibrated(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on the pages of all plants and on those without a change."""
    scale, seed, base = SCALES[run.settings.preset], run.settings.seed, str(run.settings.model)
    name = run.model.name
    run.models.clear()  # each page opens what it needs, one model at a time
    with TemporaryDirectory() as scratch:
        kept = run.parts.folder if run.parts.folder is not None else Path(scratch)
        planted = all_plants(scale, seed)
        total = len(planted) + len(TUNES) + scale.nulls.pages
        with counted_stages(run.parts, "Diff calibration: pages", total) as stage:
            losses: dict[str, list[float]] = {}
            pages = [_planted(stage, plant, base, scale, kept, losses) for plant in planted]
            models = NullModels(base, scale.nulls.dtype)
            nulls = [
                # Seeds of their own, which no plant has.
                stage.run(NullPage, f"null page {number}", partial(models.page, scale, 1000 * (seed + 1) + number))
                for number in range(scale.nulls.pages)
            ]
    return judged_outcome(
        f"armillary diff calibrated on known changes of {name}",
        CLAIMS,
        measures(pages, nulls, losses),
        more=calibration_sections(pages, nulls, scale),
        data=[],
    )


def _planted(stage: Stages, plant: Plant, base: str, scale: Scale, kept: Path, losses: dict[str, list[float]]) -> Page:
    """The page of a plant; the first of a tune learns its adapter before. Adds the losses of that tune."""
    if plant.kind in TUNES and plant.kind not in losses:
        learn = partial(trained_adapter, plant.kind, base, kept / "adapters", scale.recipe, plant.seed)
        losses[plant.kind] = stage.run(list[float], f"tune {plant.kind}", learn)
    return stage.run(Page, f"page {plant.name} {plant.seed}", partial(made_page, plant, base, scale, kept))


REPRODUCTIONS = {"diff_calibration": Reproduction(work=calibrated)}
