"""A run's folder: locked, resumable, and complete in the end."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from armillary.errors import StorageError, UsageError
from armillary.records import RunRecord
from armillary.runs import RunFolder, versions

CONFIG = {"n": 3, "words": ("a", "b")}
MODELS = {"model": "ab12"}


def record(**changes: Any) -> RunRecord:
    return replace(
        RunRecord(
            kind="checkup", title="Check-up", config=dict(CONFIG), models={"model": {"fingerprint": "ab12"}}, seed=0,
            versions=versions(), started="2026-01-01T00:00:00+00:00", seconds=1.0,
        ),
        **changes,
    )  # fmt: skip


def test_a_finished_run_leaves_record_and_report_and_no_parts(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "out", CONFIG, MODELS) as folder:
        assert folder.finished() is None
        folder.parts.json("x", lambda: 1)
        folder.finish(record())
        assert folder.seconds >= 0 and folder.started.endswith("+00:00")
    assert (
        {"record.json", "report.html"} <= set(os.listdir(tmp_path / "out")) <= {".lock", "record.json", "report.html"}
    )


def test_the_same_run_is_not_done_twice(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        folder.finish(record())
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        found = folder.finished()
        assert found is not None and found.to_dict() == record().to_dict()


@pytest.mark.parametrize(
    ("config", "models", "version"),
    [
        ({**CONFIG, "n": 4}, MODELS, None),
        (CONFIG, {"model": "other"}, None),
        (CONFIG, {}, None),
        (CONFIG, MODELS, "0"),
    ],
)
def test_another_run_is_not_mistaken_for_it(
    tmp_path: Path, config: dict[str, Any], models: dict[str, str], version: str | None
) -> None:
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        folder.finish(record(versions={"armillary": version} if version else versions()))
    with RunFolder.open(tmp_path, config, models) as folder:
        assert folder.finished() is None


def test_models_may_be_bound_later(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as folder:
        folder.parts.json("x", lambda: "no model")
        folder.bind(MODELS)
        assert folder.parts.json("x", lambda: "model") == "model"
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        assert folder.parts.json("x", lambda: "again") == "model"


def test_a_kill_between_record_and_report_is_healed(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        folder.finish(record())
        whole = (tmp_path / "report.html").read_text()
        (tmp_path / "report.html").unlink()
        folder.parts.json("left over", lambda: 1)
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        assert folder.finished() is not None
    assert (tmp_path / "report.html").read_text() == whole
    assert not (tmp_path / ".parts").exists()


def test_a_record_of_another_run_is_refused(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        with pytest.raises(ValueError, match="must be those"):
            folder.finish(record(config={"n": 4}))
        with pytest.raises(ValueError, match="must be those"):
            folder.finish(record(models={}))
    assert not (tmp_path / "record.json").exists()


def test_a_second_run_is_kept_out_and_a_killed_one_is_not_in_the_way(tmp_path: Path) -> None:
    code = (
        "import sys; from armillary.runs import RunFolder\n"
        "with RunFolder.open(sys.argv[1], {}) as folder:\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(StorageError, match="Another run is using"), RunFolder.open(tmp_path, {}):
            pass
        holder.kill()
    with RunFolder.open(tmp_path, {}):
        pass


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError), RunFolder.open(tmp_path / "new", CONFIG):
        raise UsageError("no such model")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(UsageError), RunFolder.open(tmp_path / "old", CONFIG):
        raise UsageError("no such model")
    assert (tmp_path / "old").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"), RunFolder.open(tmp_path / "file", {}):
        pass


def test_a_broken_record_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"schema": 1})[:-1])
    with RunFolder.open(tmp_path, CONFIG, MODELS) as folder:
        assert folder.finished() is None
        folder.finish(record())
    assert RunRecord.load(tmp_path).title == "Check-up"
