"""Without peft one sentence says what to install, before anything long begins."""

import sys
from pathlib import Path

import pytest

from armillary.errors import UsageError
from armillary.extras import peft_package
from reproductions.commit import run as commit_real
from reproductions.config import ReproduceConfig
from reproductions.mdgd import run as mdgd


def test_the_package_or_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peft_package().__name__ == "peft"
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        peft_package()


@pytest.mark.parametrize("experiment", [mdgd, commit_real])
def test_a_reproduction_asks_first(experiment: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    config = ReproduceConfig(method=str(experiment.__name__).rpartition(".")[2], model="tiny-llama", preset="quick")
    with pytest.raises(UsageError, match=r"armillary\[adapters\]"):
        experiment.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
