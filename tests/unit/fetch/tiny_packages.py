"""Packages in place of those of a registry: a wheel that pip hands out, archives that npm does."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from armillary.fetch import pip


def publish_wheel(
    module: ModuleType, files: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> list[Sequence[str]]:
    """Stands in for the wheel that ``module`` pins, with ``files`` in it; the calls that will have been made."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    calls: list[Sequence[str]] = []

    def download(packages: Sequence[str], folder: Path, on_bytes: Callable[[int], None], **_: bool) -> None:
        calls.append(packages)
        (folder / "wheels").mkdir()
        (folder / "wheels" / "tiny-1.0-py3-none-any.whl").write_bytes(written.getvalue())

    monkeypatch.setattr(pip, "download", download)
    digest = hashlib.sha256(written.getvalue()).hexdigest()
    monkeypatch.setattr(module, "WHEEL", replace(module.WHEEL, sha256=digest))
    return calls


def write_archive(path: Path, files: Mapping[str, bytes]) -> str:
    """An npm archive that holds ``files``; its sha256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Makes ``script`` (of sh) the npm of this machine; each call leaves its arguments as a line of the file given."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    calls = folder / "calls"
    calls.write_text("")
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{script}\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return calls
