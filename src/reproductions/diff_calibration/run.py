"""``armillary diff`` on copies of a model of which it is known how they differ: ``reproduce diff_calibration``.

A page is made of each plant, and further pages of the base beside itself with other seeds. Whole models are thrown
away after their page; adapters stay among the parts of the run until it is finished.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.diff.config import DiffConfig
from armillary.diff.run import run_diff
from armillary.runs.run import Outcome, Run
from reproductions.diff_calibration.claims import CLAIMS
from reproductions.diff_calibration.measures import measures
from reproductions.diff_calibration.pages import Page, read_page
from reproductions.diff_calibration.plants import DEMO_PROMPTS, TUNES, UNCHANGED, Plant, build, plants, trained_adapter
from reproductions.diff_calibration.report import planted_section
from reproductions.diff_calibration.scale import SCALES, Scale
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def all_plants(scale: Scale, seed: int) -> list[Plant]:
    """Those of the page in their order, then the further ones without a change, by turns of each kind."""
    first = plants(scale.noise, scale.factors)
    more = [
        Plant(kind=UNCHANGED[number % len(UNCHANGED)], seed=seed + 1 + number) for number in range(scale.identical)
    ]
    return [*(replace(plant, seed=seed) for plant in first), *more]


def asked(scale: Scale) -> str:
    """The prompts of every page, a row each."""
    packaged = (files("armillary.diff") / "packaged" / "prompts.jsonl").read_text("utf-8").splitlines()
    chosen = [line for line in packaged if json.loads(line)["tag"] in scale.tags]
    return "\n".join(chosen) + "\n" + DEMO_PROMPTS.read_text("utf-8")


def made_page(plant: Plant, base: str, scale: Scale, adapters: Path) -> Page:
    """The page of one plant, whose models are gone afterwards."""
    with TemporaryDirectory() as scratch:
        folder = adapters if plant.kind in TUNES else Path(scratch) / "plant"
        after = build(plant, base, folder, scale.recipe)
        prompts = Path(scratch) / "prompts.jsonl"
        prompts.write_text(asked(scale), "utf-8")
        config = DiffConfig(
            base=base,
            after=after,
            prompts=str(prompts),
            budget=scale.budget,
            most_prompts=scale.prompts,
            most_texts=scale.texts,
            answer_tokens=scale.answer_tokens,
            seed=plant.seed,
        )
        started = time.monotonic()
        record = run_diff(config, Path(scratch) / "page")
        return read_page(plant, record, time.monotonic() - started)


def calibrated(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on the pages of all plants."""
    scale, seed, base = SCALES[run.settings.preset], run.settings.seed, str(run.settings.model)
    name = run.model.name
    run.models.clear()  # each page opens what it needs, one model at a time
    with TemporaryDirectory() as scratch:
        adapters = run.parts.folder / "adapters" if run.parts.folder is not None else Path(scratch)
        planted = all_plants(scale, seed)
        with counted_stages(run.parts, "Diff calibration: pages", len(planted) + len(TUNES)) as stage:
            losses: Mapping[str, list[float]] = {
                kind: stage.run(
                    list[float], f"tune {kind}", partial(trained_adapter, kind, base, adapters, scale.recipe, seed)
                )
                for kind in TUNES
            }
            pages = [
                stage.run(Page, f"page {plant.name} {plant.seed}", partial(made_page, plant, base, scale, adapters))
                for plant in planted
            ]
    return judged_outcome(
        f"armillary diff calibrated on known changes of {name}",
        CLAIMS,
        measures(pages, losses),
        more=[planted_section(pages)],
        data=[],
    )


REPRODUCTIONS = {"diff_calibration": Reproduction(work=calibrated)}
