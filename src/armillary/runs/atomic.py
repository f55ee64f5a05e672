"""A file is either whole or not there: writing through a temporary file in the same folder."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from armillary.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_SUFFIX = ".armillary-tmp"


def write_atomic(path: Path | str, data: str | bytes) -> None:
    """``path`` holds exactly ``data`` (text as UTF-8), or what it held before; never a part of either.

    The bytes go to a temporary file beside it, are flushed to the disk, and take the name in one step; missing parent
    folders are made. A reader, a second process and a loss of power all see the old file or the new one.

    Raises:
        StorageError: no space, no permission, or another failure of the file system; the temporary file is removed.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
    except OSError as error:
        raise StorageError(storage_sentence(path, error, len(content))) from error


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that killed writers left in ``folder``. Only for the holder of the folder's lock."""
    for stale in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            stale.unlink()


def storage_sentence(path: Path, error: OSError, size: int = 0) -> str:
    """What went wrong with writing ``size`` bytes to ``path``, in one sentence."""
    if error.errno in _NO_SPACE:
        return f"There is no space left to write {path} ({size / 1e6:.1f} MB); free some, or choose another folder."
    if error.errno in _NO_PERMISSION:
        return f"There is no permission to write {path}; choose a folder you may write to."
    return f"{path} could not be written: {error.strerror or error}."


def _write(path: Path, content: bytes) -> None:
    # The name is short whatever the target's is, so that a long but valid name stays valid.
    temporary = path.parent / f".{secrets.token_hex(8)}{_SUFFIX}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # Without this a loss of power may undo the rename; systems that can't open folders (Windows) don't need it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
