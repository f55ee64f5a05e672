"""Where the data of the Vector-ICL reproduction come from, for its record."""

from importlib.metadata import version
from typing import Any

from armillary.data.sources import Source


def sources() -> list[dict[str, Any]]:
    """One entry a package or data set."""
    from armillary.data.emoji import load_emoji
    from armillary.data.event_fmri import EVENT_FMRI_SOURCE
    from armillary.data.glosses import GLOSS_SOURCE
    from armillary.data.molecules import MOLECULE_SOURCE
    from armillary.data.series import load_series
    from armillary.experiments.vector_icl_tasks import SERIES_WORDS

    found = [GLOSS_SOURCE, MOLECULE_SOURCE, EVENT_FMRI_SOURCE, *_of_scikit_learn(), *load_emoji().source]
    found += [load_series(name).source for name in SERIES_WORDS]
    return [dict(source.to_dict()) for source in found]


def _of_scikit_learn() -> list[Source]:
    sets = (
        ("Optical Recognition of Handwritten Digits, 8 by 8 pixels", 80),
        ("Breast Cancer Wisconsin (Diagnostic)", 17),
    )
    return [
        Source(
            name=name,
            package="scikit-learn",
            version=version("scikit-learn"),
            licence="CC-BY-4.0",
            url=f"https://archive.ics.uci.edu/dataset/{number}",
        )
        for name, number in sets
    ]
