"""A survey of the vocabulary's keys as a run of its own: what ``armillary icn keys`` leaves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from armillary.errors import UsageError
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class KeysConfig:
    """Which keys are surveyed, and how they are grouped."""

    model: str
    clusters: int | None = None
    """None takes one for every hundred tokens, 512 at most."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 2:
            raise UsageError(f"clusters must be 2 or more, got {self.clusters}.")


def run_keys(config: KeysConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a survey, also left in ``out`` with its report. Raises ``ArmillaryError``."""
    with RunFolder.open(out, {"command": "icn keys", **asdict(config)}) as folder:
        # Opened late, so that a wrong option is told before torch and a model are loaded.
        from armillary.methods.icn.key_survey import survey
        from armillary.methods.icn.survey_section import finding, measures, section
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        payload = folder.parts.json(
            "survey", lambda: survey(loaded, clusters=config.clusters, metric=config.metric, seed=config.seed)
        )
        record = RunRecord(
            kind="icn",
            title=f"Vocabulary keys of {loaded.name}",
            config=folder.config,
            models={"model": loaded.facts()},
            seed=config.seed,
            measures=measures(payload),
            findings=[finding(payload)],
            sections=[section(payload)],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record
