"""A file is either whole or not there: writing through a temporary file in the same folder."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armillary.errors import StorageError, UsageError

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


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_space(error: BaseException) -> bool:
    """True for a full disk, however the library words it (safetensors gives no errno)."""
    return getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)


# A folder is either whole or not there: built aside in the same place, flushed to the disk, then renamed.


@contextmanager
def whole_folder(target: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill; after the block it takes the name ``target`` in one step, on an error it is removed.

    A reader sees all of it or nothing; a killed process leaves only a hidden folder that ``remove_stale_folders``
    clears. With ``replace`` a folder of that name goes just before. Raises StorageError where ``target`` exists and
    should not be replaced, or can't be written.
    """
    target = Path(target)
    if target.exists() and not replace:
        raise StorageError(f"{target} exists already; give the name of a new folder.")
    aside = target.parent / f".{secrets.token_hex(8)}{_SUFFIX}"
    try:
        aside.mkdir(parents=True)
        try:
            yield aside
            for path in [*aside.rglob("*"), aside]:
                _flush(path)
            if target.exists():  # a folder with content can't be renamed over
                shutil.rmtree(target)
            os.rename(aside, target)
            _flush(target.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(storage_sentence(target, error)) from error
    except Exception as error:
        # safetensors reports a full disk as an error of its own, without an error number.
        if no_space(error):
            raise StorageError(f"There is no space left to write {target}; free some, or choose another.") from error
        raise


def remove_stale_folders(parent: Path) -> None:
    """Remove what killed writers left in ``parent``. Only for the holder of its lock."""
    for stale in parent.glob(f".*{_SUFFIX}"):
        shutil.rmtree(stale, ignore_errors=True)


def _flush(path: Path) -> None:
    with contextlib.suppress(OSError):  # systems that can't open folders (Windows) don't need it
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest_of(path: Path | str) -> str:
    """Sixteen hex digits of a file, or of all files below a folder with their names.

    Raises:
        StorageError: one of them can't be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(f"{file.relative_to(path)}\n".encode())
            with open(file, "rb") as content:
                hashlib.file_digest(content, lambda: digest)
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
    return digest.hexdigest()[:16]


def read_text(path: Path | str) -> str:
    """The text of a user's file in UTF-8, without a byte order mark.

    Raises:
        UsageError: there is no such file, or it is no such text.
        StorageError: it can't be read.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path} could not be read: there is no file of that name.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from None
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error


def text_lines(path: Path | str) -> list[str]:
    """The lines of a user's file that hold more than white space. Raises as ``read_text``."""
    return [line for line in read_text(path).splitlines() if line.strip()]


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; StorageError where it can't be read or holds something else."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read: {error}.") from error
    if not isinstance(data, dict):
        raise StorageError(f"{path} holds no JSON object.")
    return data
