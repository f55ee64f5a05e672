"""Two dry runs, shared by the tests that only need some finished run; no picture drawn twice."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from processes import start_command


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dry check-up; the command's stdout lies beside it."""
    return finished(tmp_path_factory, "checkup", ["checkup", "any-model", "--dry-run", "--json"])


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dry reproduction of LinCorr; the command's stdout lies beside it."""
    return finished(tmp_path_factory, "reproduce", ["reproduce", "lincorr", "--dry-run"])


def finished(factory: pytest.TempPathFactory, name: str, command: Sequence[str]) -> Path:
    """The folder of a run made by the command in a process of its own; all workers of a session share it."""
    place = factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / name
    place.mkdir(exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "run" / "record.json").exists():
            process = start_command([*command, "--out", str(place / "run")], place)
            process.join()
            assert process.exitcode == 0, (place / "stderr").read_text("utf-8")
    return place / "run"


@pytest.fixture(scope="session", autouse=True)
def pictures_drawn_once() -> Iterator[None]:
    """What is replayed or goes on after a kill leaves the same pictures; drawing them takes longer than a tiny run."""
    from armillary.report import html

    drawn: dict[str, str] = {}
    draw = html.svg

    def remembered(figure: Any, **options: Any) -> str:
        key = repr((figure, sorted(options.items())))
        if key not in drawn:
            drawn[key] = draw(figure, **options)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(html, "svg", remembered)
        yield
