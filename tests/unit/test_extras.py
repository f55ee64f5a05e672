"""Without peft one sentence says what to install, before anything long begins."""

import sys
from pathlib import Path

import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.errors import UsageError
from armillary.extras import peft_package


def test_the_package_or_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peft_package().__name__ == "peft"
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        peft_package()


@pytest.mark.parametrize("method", ["mdgd", "commit_real"])
def test_a_reproduction_asks_first(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    settings = ReproduceSettings(method=method, model="tiny-llama", preset="quick")
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        JOBS["reproduce"].run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
