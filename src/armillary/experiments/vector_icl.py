"""The claims of Vector-ICL (arXiv 2410.05629), run, measured, judged. ``armillary reproduce vector_icl``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from armillary.experiments import vector_icl_stages as stages
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.experiments.vector_icl_captions import caption_rows
from armillary.experiments.vector_icl_claims import CLAIMS
from armillary.experiments.vector_icl_lab import Laboratory
from armillary.experiments.vector_icl_measures import measures
from armillary.experiments.vector_icl_numbers import number_rows
from armillary.experiments.vector_icl_scale import SCALES
from armillary.experiments.vector_icl_sections import class_sections, findings
from armillary.experiments.vector_icl_sources import sources
from armillary.experiments.vector_icl_text_measures import text_measures
from armillary.experiments.vector_icl_text_sections import text_sections
from armillary.experiments.vector_icl_texts import signal_rows, text_rows
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct", "gemma-3-270m"),
}
"""Models judged by default, one record each."""

STAGES: dict[str, Callable[[Laboratory], dict[str, Any]]] = {
    "texts": text_rows,
    "topics": stages.topics,
    "digits": stages.digits,
    "series": stages.series,
    "molecules": caption_rows,
    "numbers": number_rows,
    "tables": stages.tables,
    "graphs": stages.graphs,
    "emoji": stages.emoji,
    "signals": signal_rows,
    "brain": stages.brain,
}


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``.

    Data are fetched at first use. UsageError where RDKit or the emoji are missing; the quick preset needs neither.
    """
    if not SCALES[config.preset].made_up:
        _check_packages()
    return reproduced(config, out, _judged, fresh=fresh)


def _check_packages() -> None:
    """Now, not after an hour."""
    from armillary.data.emoji import fetch_emoji
    from armillary.data.event_fmri import load_event_fmri
    from armillary.data.molecule_facts import captions

    captions(["CCO"])
    fetch_emoji()
    load_event_fmri()  # of the last row


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    lab = Laboratory.of(loaded, SCALES[config.preset], config.seed, folder.parts)
    found: dict[str, Any] = {}
    with counted("Vector-ICL: rows", len(STAGES)) as bar:
        for name, stage in STAGES.items():
            found[name] = folder.parts.json(f"stage {name}", partial(stage, lab))
            bar.advance()
    measured = measures(found, text_measures(found))
    claims = judge(CLAIMS, measured)
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"Vector-ICL reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=[*text_sections(found, measured), *class_sections(found, measured)],
        data=[] if lab.scale.made_up else sources(),
    )
