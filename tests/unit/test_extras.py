"""Without peft one sentence says what to install, before anything long begins."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.errors import UsageError
from armillary.extras import optional


def test_the_package_or_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert optional("peft", "adapters").__name__ == "peft"
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        optional("peft", "adapters")


@pytest.mark.parametrize("method", ["mdgd", "commit_real"])
def test_a_reproduction_asks_first(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # transformers looks for peft when it is imported, and is to find it.
    import_module(f"reproductions.{method.removesuffix('_real')}.run")
    import_module("transformers.trainer")
    monkeypatch.setitem(sys.modules, "peft", None)
    settings = ReproduceSettings(method=method, model="tiny-llama", preset="quick")
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        JOBS["reproduce"].run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
