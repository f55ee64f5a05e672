"""A folder is either whole or not there: built aside in the same place, flushed to the disk, then renamed."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armillary.errors import StorageError
from armillary.models.cache import no_space
from armillary.runs.atomic import storage_sentence

_SUFFIX = ".armillary-tmp"


@contextmanager
def whole_folder(target: Path | str) -> Iterator[Path]:
    """A new folder to fill; after the block it takes the name ``target`` in one step, on an error it is removed.

    A reader sees all of it or nothing; a killed process leaves only a hidden folder that ``remove_stale_folders``
    clears. Raises StorageError where ``target`` exists or can't be written.
    """
    target = Path(target)
    if target.exists():
        raise StorageError(f"{target} exists already; give the name of a new folder.")
    aside = target.parent / f".{secrets.token_hex(8)}{_SUFFIX}"
    try:
        aside.mkdir(parents=True)
        try:
            yield aside
            for path in [*aside.rglob("*"), aside]:
                _flush(path)
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
