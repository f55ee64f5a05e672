"""A cache folder is whole or absent, whatever happens while it is made."""

import errno
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from armillary import files
from armillary.errors import ArmillaryError, StorageError
from armillary.fetch import cache

Usage = namedtuple("Usage", "total used free")


class Maker:
    """Writes a small model and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, result: Path, scratch: Path) -> None:
        self.calls += 1
        (scratch / "download").write_bytes(b"big")
        save_file({"weight": torch.arange(64.0)}, result / "model.safetensors")
        (result / "config.json").write_text("{}")


@pytest.fixture
def maker() -> Maker:
    return Maker()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_it_is_made_once_and_then_found(maker: Maker, cache_at: Path) -> None:
    folder = cache.build(cache.slot("some"), maker, needed=0)
    assert cache.build(cache.slot("some"), maker, needed=0) == folder == cache_at / "models" / "some"
    assert maker.calls == 1 and cache.intact(folder)
    assert names(folder) == ["config.json", "marker.json", "model.safetensors"]
    assert names(folder.parent) == ["some"]  # nothing half-done beside it
    cache.verify(folder)


@pytest.mark.parametrize("harm", ["no marker", "torn marker", "foreign marker", "short", "gone", "bad header"])
def test_a_harmed_folder_is_made_again(maker: Maker, harm: str) -> None:
    folder = cache.build(cache.slot("some"), maker, needed=0)
    weights, marker = folder / "model.safetensors", folder / "marker.json"
    data = weights.read_bytes()
    if harm == "no marker":
        marker.unlink()
    elif harm == "torn marker":
        marker.write_text(marker.read_text()[:40])
    elif harm == "foreign marker":
        marker.write_text('{"format": 99, "files": {}}')
    elif harm == "short":
        weights.write_bytes(data[:-1])
    elif harm == "gone":
        weights.unlink()
    else:
        weights.write_bytes(b"\xff" * len(data))
    assert not cache.intact(folder)
    assert cache.build(cache.slot("some"), maker, needed=0) == folder
    assert maker.calls == 2 and cache.intact(folder) and weights.read_bytes() == data


def test_what_a_killed_process_left_is_cleared(maker: Maker, cache_at: Path) -> None:
    left = cache_at / "models" / ".partial-some-abc123" / "result"
    other = cache_at / "models" / ".partial-another-abc123"
    left.mkdir(parents=True)
    other.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    cache.build(cache.slot("some"), maker, needed=0)
    assert names(cache_at / "models") == [".partial-another-abc123", "some"]


def test_an_interruption_leaves_nothing(maker: Maker, cache_at: Path) -> None:
    def interrupted(result: Path, scratch: Path) -> None:
        maker(result, scratch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build(cache.slot("some"), interrupted, needed=0)
    assert names(cache_at / "models") == []
    assert cache.intact(cache.build(cache.slot("some"), maker, needed=0))


def test_verify_sees_a_changed_byte_that_the_quick_look_does_not(maker: Maker) -> None:
    folder = cache.build(cache.slot("some"), maker, needed=0)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert cache.intact(folder)
    with pytest.raises(StorageError, match=r"model\.safetensors is not what was written there"):
        cache.verify(folder)
    with pytest.raises(StorageError, match="is not a finished cache folder"):
        cache.verify(folder.parent / "absent")


def test_too_little_space_is_said_before_anything_is_made(
    maker: Maker, cache_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 5_000_000, 5_000_000))
    with pytest.raises(StorageError, match=r"some needs 2,000 MB free under .* but 5 MB are"):
        cache.build(cache.slot("some"), maker, needed=2_000_000_000)
    assert maker.calls == 0 and names(cache_at / "models") == []


@pytest.mark.parametrize("space", [True, False])
def test_a_write_that_fails_is_one_sentence(cache_at: Path, space: bool) -> None:
    code = errno.ENOSPC if space else errno.EACCES

    def failing(result: Path, scratch: Path) -> None:
        raise OSError(code, "Permission denied")

    with pytest.raises(StorageError, match="no space left" if space else "Permission denied") as caught:
        cache.build(cache.slot("some"), failing, needed=0)
    assert "\n" not in str(caught.value) and str(cache_at) in str(caught.value)
    assert names(cache_at / "models") == []


def test_a_full_disk_as_safetensors_words_it() -> None:
    assert files.no_space(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not files.no_space(RuntimeError("I/O error: Is a directory (os error 21)"))


def test_a_cache_that_is_a_file_is_one_sentence(maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="could not write under"):
        cache.build(cache.slot("some"), maker, needed=0)


def test_our_own_errors_pass_unchanged() -> None:
    def failing(result: Path, scratch: Path) -> None:
        raise ArmillaryError("mine")

    with pytest.raises(ArmillaryError, match=r"^mine$"):
        cache.build(cache.slot("some"), failing, needed=0)


def test_two_at_once_make_it_once(maker: Maker) -> None:
    def slow(result: Path, scratch: Path) -> None:
        maker(result, scratch)
        time.sleep(0.5)  # longer than the lock is tried before waiting is told

    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.build(cache.slot("some"), slow, needed=0)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maker.calls == 1 and len(found) == 3 and len(set(found)) == 1


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMILLARY_CACHE", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("ARMILLARY_CACHE")
    assert cache.cache_folder().name == "armillary"
