"""Diagnosis: how the vocabulary keys (rows of the unembedding) fall into clusters, and what that does to the ranks."""

from typing import Any

from armillary.checkup.diagnosis import Context, Description, Diagnosed, Diagnosis
from armillary.methods.icn.key_survey import survey
from armillary.methods.icn.report import finding, measures, section


def measure(context: Context) -> dict[str, Any]:
    """The survey of the key space."""
    return survey(context.loaded, clusters=context.config.clusters, seed=context.config.seed)


def describe(survey_: dict[str, Any]) -> Diagnosed:
    """Map of the clusters, groups, ranks and tables of tokens."""
    return Diagnosed(section=section(survey_), measures=measures(survey_), findings=[finding(survey_)])


KEYS = Diagnosis(name="keys", result=dict[str, Any], measure=measure, descriptions=(Description(describe=describe),))
