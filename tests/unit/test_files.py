"""A file is whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from armillary.errors import StorageError
from armillary.files import remove_stale, whole_folder, write_atomic


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "record.json"
    write_atomic(path, "grün")
    assert path.read_bytes() == "grün".encode()
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["record.json"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "no space left"), (errno.EACCES, "no permission")],
)
def test_a_failing_disk_gives_one_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=words) as caught:
        write_atomic(path, "new")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "record.json", "new")
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        write_atomic(tmp_path / "file" / "record.json", "x")


def test_stale_temporaries_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".0123456789abcdef.armillary-tmp").write_text("half")
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / ".lock").write_text("")
    remove_stale(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "record.json"]


def test_the_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "record.json", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with whole_folder(target) as new:
        (new / "old.txt").write_text("old")
    with pytest.raises(StorageError, match="exists already"), whole_folder(target):
        pass
    with pytest.raises(KeyboardInterrupt), whole_folder(target, replace=True) as new:
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    with whole_folder(target, replace=True) as new:
        (new / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new.txt"] and list(tmp_path.iterdir()) == [target]
