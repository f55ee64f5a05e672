"""The stages of a reproduction: each gives a typed result, is kept as a part of the run and moves one progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from armillary.models import LoadedModel
from armillary.progress import Counter, counted
from armillary.records.plain import decode
from armillary.runs.parts import Parts

Kind = TypeVar("Kind")
ScaleT = TypeVar("ScaleT")


@dataclass(frozen=True)
class StageContext(Generic[ScaleT]):
    """One model at one scale: what every stage is given. A reproduction adds what its stages share."""

    loaded: LoadedModel
    scale: ScaleT
    seed: int
    parts: Parts


class Stages:
    """Runs stages, or reads back those that a killed run has finished. Made by ``counted_stages``."""

    def __init__(self, parts: Parts, bar: Counter) -> None:
        self._parts, self._bar = parts, bar

    def run(self, kind: type[Kind], name: str, compute: Callable[[], Kind]) -> Kind:
        """The result of ``compute``, a ``kind`` of plain data, always by way of its file form."""
        data = self._parts.json(f"stage {name}", compute)
        self._bar.advance()
        return decode(kind, data, f"The stage {name}")


@contextmanager
def counted_stages(parts: Parts, label: str, total: int) -> Iterator[Stages]:
    """Inside the block, ``total`` stages under one bar with this label."""
    with counted(label, total) as bar:
        yield Stages(parts, bar)
