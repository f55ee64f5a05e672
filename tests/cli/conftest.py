"""One dry check-up, shared by the tests that only need some finished run."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dry check-up, made by the command in a process of its own; its stdout lies beside it."""
    folder = tmp_path_factory.mktemp("checkup") / "run"
    command = [sys.executable, "-m", "armillary", "checkup", "any-model", "--dry-run", "--out", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder.parent / "stdout.json").write_text(done.stdout, "utf-8")
    return folder
