"""What tests of downloads and of the cache start from."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(cache_at: Path) -> None:
    """Every test here has a cache of its own."""
