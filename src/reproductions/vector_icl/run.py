"""The claims of Vector-ICL (arXiv 2410.05629), run, measured, judged. ``armillary reproduce vector_icl``."""

from functools import partial
from importlib.metadata import version
from typing import get_type_hints

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data.sources import DataSource
from armillary.progress import counted
from armillary.records.plain import decode
from armillary.runs.run import Outcome, Run
from reproductions.page import judged_outcome
from reproductions.vector_icl.claims import CLAIMS
from reproductions.vector_icl.data.glosses import GLOSS_SOURCE
from reproductions.vector_icl.data.molecule_facts import captions
from reproductions.vector_icl.data.molecules import MOLECULE_SOURCE
from reproductions.vector_icl.data.series import load_series
from reproductions.vector_icl.measures import measures
from reproductions.vector_icl.report import example_tables, shot_figures
from reproductions.vector_icl.scale import SCALES
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.stages import STAGES, Results
from reproductions.vector_icl.tasks import SERIES_WORDS


def sources() -> list[DataSource]:
    """Where the data come from, one entry a package or data set."""
    digits = DataSource(
        name="Optical Recognition of Handwritten Digits, 8 by 8 pixels",
        package="scikit-learn",
        version=version("scikit-learn"),
        licence="CC-BY-4.0",
        url="https://archive.ics.uci.edu/dataset/80",
    )
    series = [load_series(name).source for name in SERIES_WORDS]
    return [GLOSS_SOURCE, MOLECULE_SOURCE, digits, *series]


def _check_packages(settings: ReproduceSettings) -> None:
    """RDKit, asked for now and not after an hour; the quick preset needs none."""
    if not SCALES[settings.preset].synthetic:
        captions(["CCO"])


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    context = Context.of(run.model, SCALES[run.settings.preset], run.settings.seed, run.parts)
    rows, kinds = {}, get_type_hints(Results)
    with counted("Vector-ICL: rows", len(STAGES)) as bar:
        for name, stage in STAGES.items():
            kept = run.parts.json(f"stage {name}", partial(stage, context))
            rows[name] = decode(kinds[name], kept, f"The row {name}")
            bar.advance()
    results = Results(**rows)
    measured = measures(results)
    return judged_outcome(
        f"Vector-ICL reproduced on {run.model.name}",
        CLAIMS,
        measured,
        figures=shot_figures(results, measured),
        tables=example_tables(results),
        data=[] if context.scale.synthetic else sources(),
    )


REPRODUCTIONS = {
    "vector_icl": Reproduction(work=judged, gpu=BOTH, check=_check_packages),
}
