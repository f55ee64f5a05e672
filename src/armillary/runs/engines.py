"""What does the work on the pieces of a file: this process, or Ray Data on as many machines as its cluster has.

Both give the same results in the same order, and both keep each result as it is finished, so that a killed job goes
on.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from armillary.errors import ArmillaryError, StorageError, UsageError
from armillary.extras import optional
from armillary.progress import track
from armillary.records.plain import dumps

if TYPE_CHECKING:
    from armillary.runs.parts import Parts


class NamedPiece(Protocol):
    """A piece of work, such as ``runs.pieces.Piece``; it can be sent to other processes."""

    @property
    def name(self) -> str:
        """What its result is kept under."""
        ...


PieceT = TypeVar("PieceT", bound=NamedPiece)
Result = TypeVar("Result")
EngineName = Literal["local", "ray"]

AHEAD = 64
"""Pieces that are handed to Ray together: enough for a cluster to be busy, few enough that the results which have not
been written yet fit in memory."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where pieces are worked on."""

    name: EngineName = "local"
    address: str | None = None
    """Of a Ray cluster that runs; None takes the one of the environment, or starts one on this machine."""

    workers: int | None = None
    """Processes of a cluster that is started here; None for as many as there are cores."""

    def results(
        self,
        kind: type[Result],
        pieces: Iterable[PieceT],
        work: Callable[[PieceT], Result],
        parts: "Parts",
        label: str,
    ) -> Iterator[Result]:
        """What ``work`` makes of each piece, in order; a result that ``parts`` has is not made again.

        ``work`` must be a function that other processes can import, with settings bound to it by ``partial``; its
        result a dataclass of plain data, read back as ``kind``. What ``work`` raises ends the job.
        """
        pieces = list(pieces)
        if self.name == "ray":
            self._fill([piece for piece in pieces if not parts.has(piece.name)], work, parts, label)
        for piece in track(pieces, label):
            yield parts.decoded(kind, piece.name, partial(work, piece))

    def _fill(self, missing: list[PieceT], work: Callable[[PieceT], Any], parts: "Parts", label: str) -> None:
        """Let Ray Data make the missing results, and keep each as it comes."""
        if not missing:
            return
        # Ray asks whether it may report its use as it is imported; nothing leaves the machine unasked.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray, data = optional("ray", "ray"), optional("ray.data", "ray")
        started = not ray.is_initialized()
        if started:
            cores = None if self.address else self.workers
            try:
                ray.init(address=self.address, num_cpus=cores, include_dashboard=False, log_to_driver=False,
                         logging_level="ERROR")  # fmt: skip
            except Exception as error:  # Ray raises bare exceptions, too
                where = f"at {self.address} could not be reached" if self.address else "could not be started here"
                reason = " ".join(str(error).split())
                raise StorageError(f"A Ray cluster {where} ({reason:.200}); --engine local needs none.") from error
        context = data.DataContext.get_current()
        before = context.enable_progress_bars, context.execution_options.preserve_order
        context.enable_progress_bars, context.execution_options.preserve_order = False, True
        try:
            results = track(_made_by_ray(data, missing, work), f"{label} on Ray", total=len(missing))
            for piece, result in zip(missing, results, strict=True):
                parts.json(piece.name, partial(copy, result))
        finally:
            context.enable_progress_bars, context.execution_options.preserve_order = before
            if started:
                ray.shutdown()


def _made_by_ray(data: Any, missing: list[PieceT], work: Callable[[PieceT], Any]) -> Iterator[Any]:
    for start in range(0, len(missing), AHEAD):
        some = missing[start : start + AHEAD]
        # A block for each piece, so that each is a task of its own.
        made = data.from_items([{"at": at} for at in range(len(some))], override_num_blocks=len(some)).map(
            lambda row, some=some: {"answer": _worked(work, some[int(row["at"])])}
        )
        for row in made.iter_rows():
            answer = json.loads(row["answer"])
            if "refused" in answer:
                raise UsageError(answer["refused"])
            yield answer["result"]


def _worked(work: Callable[[PieceT], Any], piece: PieceT) -> str:
    """The result as text; what the work refuses comes back as its sentence, not as Ray's trace of it."""
    try:
        return dumps({"result": work(piece)})
    except ArmillaryError as error:
        return dumps({"refused": str(error)})
