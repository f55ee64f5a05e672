"""The user's cache of models and data: a folder each, built aside and renamed, so that it is whole or absent.

``marker.json`` lists every file with its size and sha256 and is written last. A folder whose marker is missing or
does not agree with the files is built again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock
import platformdirs
from safetensors import SafetensorError, safe_open

from armillary.errors import DownloadError, StorageError
from armillary.files import no_space, sha256_of
from armillary.progress import counted

MARKER = "marker.json"
_FORMAT = 1


def cache_folder() -> Path:
    """Where models and data are kept: ``ARMILLARY_CACHE`` if set, else the system's folder for caches."""
    chosen = os.environ.get("ARMILLARY_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("armillary", appauthor=False))


def slot(name: str, *made_of: str) -> Path:
    """The folder that holds, or would hold, the model of this name; another one for each ``made_of``.

    That is what the files depend on beside the name: the digest of what is downloaded, the versions that convert it.
    """
    key = f"-{hashlib.sha256(' '.join(made_of).encode()).hexdigest()[:8]}" if made_of else ""
    return cache_folder() / "models" / f"{name}{key}"


def data_folder(name: str, sha256: str) -> Path:
    """The folder that holds, or would hold, data of this name; another one where the download's digest is another."""
    return cache_folder().absolute() / "data" / f"{name}-{sha256[:8]}"


def intact(folder: Path) -> bool:
    """True where the marker is there, every file has its recorded size, and the weights' headers can be read.

    Takes milliseconds; ``verify`` reads every byte.
    """
    sizes = {name: size for name, (size, _) in _recorded(folder).items()}
    try:
        if not sizes or any((folder / name).stat().st_size != size for name, size in sizes.items()):
            return False
        for name in sizes:
            if name.endswith(".safetensors"):
                with safe_open(folder / name, framework="pt") as weights:
                    weights.keys()
    except (OSError, SafetensorError):
        return False
    return True


def verify(folder: Path) -> None:
    """Reads every byte; StorageError naming the first file that differs from what was written."""
    recorded = _recorded(folder)
    if not recorded:
        raise StorageError(f"{folder} is not a finished cache folder; fetch it again.")
    for name, (_, digest) in recorded.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != digest:
            raise StorageError(f"{path} is not what was written there; delete {folder} and fetch it again.")


def require_digest(path: Path, sha256: str, what: str) -> None:
    """DownloadError where a file's sha256 is another; ``what`` names it in the sentence."""
    digest = sha256_of(path)
    if digest != sha256:
        raise DownloadError(f"{what} has sha256 {digest[:12]}..., not {sha256[:12]}... as expected; nothing was kept.")


def build(folder: Path, make: Callable[[Path, Path], None], *, needed: int) -> Path:
    """``folder`` in the cache, filled by ``make(result, scratch)`` unless it is there and intact.

    One process at a time builds; a build that was cut off leaves nothing that counts and is cleared by the next.
    ``needed`` is the free space in bytes that building takes. StorageError where there is less, or nothing can be
    written.
    """
    if intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not intact(folder):
                _build(folder, make, needed)
    except OSError as error:
        raise storage_error(error, folder.parent) from error
    return folder


def storage_error(error: Exception, where: Path) -> StorageError:
    """One sentence for a failed write."""
    if no_space(error):
        return StorageError(
            f"no space left on the disk that holds {where}; free some, or point ARMILLARY_CACHE elsewhere."
        )
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StorageError(
        f"could not write under {where} ({detail}); make it writable, or point ARMILLARY_CACHE elsewhere."
    )


def _build(folder: Path, make: Callable[[Path, Path], None], needed: int) -> None:
    prefix = f".partial-{folder.name}-"
    for leftover in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise StorageError(
            f"{folder.name} needs {needed / 1e6:,.0f} MB free under {folder.parent} but {free / 1e6:,.0f} MB are; "
            "free some, or point ARMILLARY_CACHE elsewhere."
        )
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        result, scratch = partial / "result", partial / "scratch"
        result.mkdir()
        scratch.mkdir()
        make(result, scratch)
        files = {
            path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(result.iterdir())
        }
        (result / MARKER).write_text(json.dumps({"format": _FORMAT, "files": files}, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        result.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _alone:
    """Holds the lock of one cache folder; says so while it waits for another process."""

    def __init__(self, folder: Path) -> None:
        self._name = folder.name
        self._lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=0.2)
        except filelock.Timeout:
            with counted(f"wait for another process that prepares {self._name}", None):
                self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _recorded(folder: Path) -> dict[str, tuple[int, str]]:
    """File name to (size, sha256); empty where there is no readable marker."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker["format"] != _FORMAT:
            return {}
        return {str(name): (int(file["size"]), str(file["sha256"])) for name, file in marker["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
