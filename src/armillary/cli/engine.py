"""Options of commands whose files are worked on piece by piece: where that is done changes no number."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from armillary.cli.options import RunOptions
from armillary.errors import UsageError
from armillary.runs.engines import Engine, EngineName


@dataclass(frozen=True, kw_only=True)
class EngineOptions(RunOptions):
    """Where a run goes, how its result is shown, and what does the work: nothing that changes a number."""

    engine: EngineName = "local"
    """local: this process; ray: Ray Data, for files too large for one process (extra ray)."""

    ray_address: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Address of a Ray cluster that runs, such as auto; without one a cluster is started on this machine."""

    ray_workers: int | None = None
    """Processes of a cluster that is started here; by default as many as there are cores."""

    def __post_init__(self) -> None:
        if self.engine == "local" and (self.ray_address is not None or self.ray_workers is not None):
            raise UsageError("--ray-address and --ray-workers need --engine ray.")
        if self.ray_workers is not None and self.ray_workers < 1:
            raise UsageError(f"ray_workers must be 1 or more, got {self.ray_workers}.")

    def chosen(self) -> Engine:
        """What does the work."""
        return Engine(name=self.engine, address=self.ray_address, workers=self.ray_workers)
