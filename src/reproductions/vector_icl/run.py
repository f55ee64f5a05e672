"""The claims of Vector-ICL (arXiv 2410.05629), run, measured, judged. ``armillary reproduce vector_icl``."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data.sources import DataSource
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.runs.run import Outcome, Run
from reproductions.vector_icl import stages
from reproductions.vector_icl.captions import caption_rows
from reproductions.vector_icl.claims import CLAIMS
from reproductions.vector_icl.measures import measures, text_measures
from reproductions.vector_icl.numbers import number_rows
from reproductions.vector_icl.report import class_sections, findings, text_sections
from reproductions.vector_icl.scale import SCALES
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.texts import signal_rows, text_rows

# Where the data of the Vector-ICL reproduction come from, for its record.


def sources() -> list[DataSource]:
    """One entry a package or data set."""
    from armillary.data.images.emoji import load_emoji
    from reproductions.vector_icl.data.glosses import GLOSS_SOURCE
    from reproductions.vector_icl.data.molecules import MOLECULE_SOURCE
    from reproductions.vector_icl.data.scans import EVENT_FMRI_SOURCE
    from reproductions.vector_icl.data.series import load_series
    from reproductions.vector_icl.tasks import SERIES_WORDS

    found = [GLOSS_SOURCE, MOLECULE_SOURCE, EVENT_FMRI_SOURCE, *_of_scikit_learn(), *load_emoji().source]
    found += [load_series(name).source for name in SERIES_WORDS]
    return found


def _of_scikit_learn() -> list[DataSource]:
    sets = (
        ("Optical Recognition of Handwritten Digits, 8 by 8 pixels", 80),
        ("Breast Cancer Wisconsin (Diagnostic)", 17),
    )
    return [
        DataSource(
            name=name,
            package="scikit-learn",
            version=version("scikit-learn"),
            licence="CC-BY-4.0",
            url=f"https://archive.ics.uci.edu/dataset/{number}",
        )
        for name, number in sets
    ]


STAGES: dict[str, Callable[[Context], dict[str, Any]]] = {
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


def _check_packages(settings: ReproduceSettings) -> None:
    """RDKit, the emoji and the scan, asked for now and not after an hour; the quick preset needs none."""
    if SCALES[settings.preset].synthetic:
        return
    from armillary.data.images.emoji import fetch_emoji
    from reproductions.vector_icl.data.molecule_facts import captions
    from reproductions.vector_icl.data.scans import load_event_fmri

    captions(["CCO"])
    fetch_emoji()
    load_event_fmri()  # of the last row


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    context = Context.of(loaded, SCALES[config.preset], config.seed, folder.parts)
    found: dict[str, Any] = {}
    with counted("Vector-ICL: rows", len(STAGES)) as bar:
        for name, stage in STAGES.items():
            found[name] = folder.parts.json(f"stage {name}", partial(stage, context))
            bar.advance()
    measured = measures(found, text_measures(found))
    claims = judge(CLAIMS, measured)
    return Outcome(
        title=f"Vector-ICL reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=[*text_sections(found, measured), *class_sections(found, measured)],
        data=[] if context.scale.synthetic else sources(),
    )


REPRODUCTIONS = {
    "vector_icl": Reproduction(work=judged, gpu=BOTH, check=_check_packages),
}
