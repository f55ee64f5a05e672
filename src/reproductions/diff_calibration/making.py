"""How the page of a plant is made: what base leaves is kept for all pages, and time and memory are read."""

import gc
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.diff.config import DiffConfig
from armillary.diff.pair import origin_of
from armillary.diff.run import measured, told
from armillary.runs.parts import Parts
from reproductions.diff_calibration.nulls import NullPage, exchanged_page
from reproductions.diff_calibration.pages import Page, read_comparisons, read_lines
from reproductions.diff_calibration.plants import DEMO_PROMPTS, TUNES, UNCHANGED, Plant, build
from reproductions.diff_calibration.scale import Scale


class SharedParts(Parts):
    """Parts of one page, but for those of base, which every page of the same prompts and seed has alike."""

    def __init__(self, folder: Path, shared: Path) -> None:
        super().__init__(folder, "page")
        self._base = Parts(shared, "base")

    def _path(self, name: str, ending: str) -> Path | None:
        of_base = name == "sizes" or ("base" in name and "after" not in name)
        return self._base._path(name, ending) if of_base else super()._path(name, ending)


def asked(scale: Scale) -> str:
    """The prompts of every page, a row each."""
    packaged = (files("armillary.diff") / "packaged" / "prompts.jsonl").read_text("utf-8").splitlines()
    chosen = [line for line in packaged if json.loads(line)["tag"] in scale.tags]
    return "\n".join(chosen) + "\n" + DEMO_PROMPTS.read_text("utf-8")


def made_page(plant: Plant, base: str, scale: Scale, kept: Path) -> Page:
    """The page of one plant, whose models are gone afterwards.

    ``kept`` holds adapters, and what base left on the first page.
    """
    with TemporaryDirectory() as scratch:
        folder = kept / "adapters" if plant.kind in TUNES else Path(scratch) / "plant"
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
        gc.collect()
        forget_peak()
        started = time.monotonic()
        origins = {"base": origin_of(base, config), "after": origin_of(after, config)}
        measuring = measured(config, origins, SharedParts(Path(scratch) / "page", kept / f"base {plant.seed}"))
        outcome = told(measuring)
        seconds, peak = time.monotonic() - started, peak_since()
        turned: list[NullPage] = []
        if plant.kind not in UNCHANGED:
            turned = [exchanged_page(measuring.evidence, plant.name, seed) for seed in range(scale.nulls.exchanges)]
        return Page(
            plant=plant,
            comparisons=read_comparisons(outcome),
            lines=read_lines(outcome),
            seconds=seconds,
            phases=measuring.seconds,
            costs=measuring.costs,
            peak_gib=peak,
            tensors_changed=measuring.results["identity"].changed,
            exchanged=turned,
        )


def forget_peak() -> None:
    """Begin to count the largest memory of this process anew, where the system (Linux) can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "utf-8")


def peak_since() -> float | None:
    """Largest memory of this process since then, in GiB; None where the system does not tell."""
    try:
        lines: Sequence[str] = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(sizes[0]) / 2**20 if sizes else None  # in KiB
