"""An empty cache, and one tiny model at the quick scale, whose parts all rows of a test file share."""

from pathlib import Path

import pytest

from armillary.models import load
from armillary.runs.parts import Parts
from reproductions.vector_icl.scale import SCALES
from reproductions.vector_icl.setup import Context


@pytest.fixture(autouse=True)
def cache_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An empty cache of the test's own; tests of the real weights see the user's."""
    if request.node.get_closest_marker("weights") is None:
        monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context.of(load("tiny-llama"), SCALES["quick"], 0, Parts(tmp_path_factory.mktemp("run"), "test"))
