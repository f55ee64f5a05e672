"""Diagnosis: how the vocabulary keys (rows of the unembedding) fall into clusters, and what that does to the ranks."""

from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, Payload
from armillary.methods.icn.key_survey import survey
from armillary.methods.icn.report import finding, measures, section


def measure(context: Context) -> Payload:
    """The survey of the key space."""
    return survey(context.loaded, clusters=context.config.clusters, seed=context.config.seed)


def describe(payload: Payload) -> Diagnosed:
    """Map of the clusters, groups, ranks and tables of tokens."""
    return Diagnosed(section=section(payload), measures=measures(payload), findings=[finding(payload)])


KEYS = Diagnosis(name="keys", title="Vocabulary key space", measure=measure, describe=describe)
