"""Diagnosis: how the vocabulary keys (rows of the unembedding) fall into clusters, and what that does to the ranks."""

from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis
from armillary.methods.icn.key_survey import KeySurvey, survey
from armillary.methods.icn.report import finding, measures, section


def measure(context: Context) -> KeySurvey:
    """The survey of the key space."""
    return survey(context.loaded, clusters=context.config.clusters, seed=context.config.seed)


def describe(keys: KeySurvey) -> Diagnosed:
    """Map of the clusters, groups, ranks and tables of tokens."""
    return Diagnosed(section=section(keys), measures=measures(keys), findings=[finding(keys)])


# The clusters take 5.2 s (benchmarks/keys.py), ranks and neighbours the rest.
KEYS = Diagnosis(name="keys", result=KeySurvey, cost=lambda config: 8.0, measure=measure, descriptions=(describe,))
