"""``armillary icn keys MODEL``: a survey of the vocabulary's keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from armillary.cli.command import run_job
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, at_least


@dataclass(frozen=True, kw_only=True)
class KeySettings(OneModelSettings):
    """Draw the space of a model's vocabulary keys: which tokens lie together, and what that does to the ranking."""

    command: ClassVar[str] = "icn keys"

    clusters: int | None = None
    """Groups into which the keys are split; None takes one for every hundred tokens, 512 at most."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """How near two keys are: by direction, or by distance, which their length dominates (the paper's code)."""

    def __post_init__(self) -> None:
        at_least(self, clusters=2)


def survey_keys(run: Run[KeySettings]) -> Outcome:
    """The key space of one model. UsageError for more clusters than tokens."""
    from armillary.methods.icn.key_survey import KeySurvey, survey
    from armillary.methods.icn.report import finding, measures, section
    from armillary.records.plain import decode

    settings = run.settings
    kept = run.parts.json(
        "survey",
        lambda: survey(run.model, clusters=settings.clusters, metric=settings.metric, seed=settings.seed),
    )
    keys = decode(KeySurvey, kept, "The survey of the keys")
    return Outcome(
        title=f"Vocabulary keys of {run.model.name}",
        measures=measures(keys),
        findings=[finding(keys)],
        sections=[section(keys)],
    )


JOBS = {"icn keys": Job(settings=KeySettings, work=survey_keys)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["icn keys"], arguments)
