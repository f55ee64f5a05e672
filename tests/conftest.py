"""What every test runs under: no network, a cache of its own, one thread, fixed seeds."""

import gc
import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Libraries read these when they are first imported, which is after this file.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"

import pytest

from typecheck import check_shapes

ROOT = Path(__file__).parent.parent
_CACHE = tempfile.TemporaryDirectory(prefix="armillary-test-cache-")
_connect = socket.socket.connect

check_shapes("armillary")


class NetworkBlocked(RuntimeError):
    """A test tried to leave the machine."""


def _connect_locally(self: socket.socket, address: Any) -> None:
    host = address[0] if isinstance(address, tuple) else ""
    if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
        raise NetworkBlocked(f"tests may not use the network, but one asked for {address!r}")
    _connect(self, address)


@pytest.fixture(scope="module", autouse=True)
def _little_garbage() -> None:
    """Take what has been imported out of the garbage collection that a Trainer asks for before every training.

    Tests import too; without this the last files would look through all the libraries at every collection.
    """
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes name no test: what packs a file writes the time into it, and every worker must find the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of real weights see the user's own cache; all others an empty one."""
    offline = {"ARMILLARY_CACHE": _CACHE.name, "PIP_NO_INDEX": "1", "npm_config_offline": "true"}
    if item.get_closest_marker("weights") is None:
        os.environ.update(offline)  # pip and npm are processes of their own, which nothing here could stop
    else:
        for name in offline:
            os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _one_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(socket.socket, "connect", _connect_locally)
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(0)  # torch.manual_seed notes a trace for every kind of device
        torch.use_deterministic_algorithms(True)
    yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def _versions_read_once() -> Iterator[None]:
    """Every record names the versions of the libraries, and to look them up takes longer than a short test."""
    from armillary.runs import environment

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(environment, "_version", cache(environment._version))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def cache_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An empty cache of the test's own; tests of the real weights see the user's."""
    if request.node.get_closest_marker("weights") is None:
        monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
