"""Finished parts of a run, kept on disk so that a killed run goes on where it stopped."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from armillary.errors import StorageError
from armillary.files import remove_stale, remove_stale_folders, sha256_of, whole_folder, write_atomic
from armillary.records.plain import decode, dumps, plain

HIDDEN = ".parts"
Kind = TypeVar("Kind")
Arrays = dict[str, NDArray[Any]]
Store = Callable[[str, Callable[[], Arrays]], Arrays]
"""Gives the arrays of the name if it has them, else computes, keeps and gives them (such as ``Parts.arrays``)."""


class Parts:
    """Named values, each computed once for a fingerprint and read back after that.

    A value takes the same way through its file form whether it was computed now or read back, so a resumed run sees
    exactly what an uninterrupted one sees. For the same reason a part must not lean on what ran before it: a part that
    draws random numbers seeds its own generator. A part that is missing, cut short or damaged is computed again.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        """Parts under ``folder``; None keeps nothing on disk (values still take their file form)."""
        self.folder = None if folder is None else folder / HIDDEN / _file_name(fingerprint)
        if self.folder is not None:
            remove_stale(self.folder)
            remove_stale_folders(self.folder)

    def json(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value of ``compute`` as JSON data (see ``records.plain``): tuples come back as lists, NaN as None."""
        path = self._path(name, "json")
        kept = _read_json(path, name)
        if kept is not None:
            return kept["value"]
        text = dumps(compute())
        if path is not None:
            # The checksum finds damage that still parses; the name finds a file that was copied over another.
            write_atomic(path, dumps({"name": name, "sha256": _sha256(text)})[:-1] + f', "value": {text}}}')
        return json.loads(text)

    def has(self, name: str) -> bool:
        """Whether the JSON value of this name is kept and whole."""
        return _read_json(self._path(name, "json"), name) is not None

    def decoded(self, kind: type[Kind], name: str, compute: Callable[[], Kind]) -> Kind:
        """The value of ``compute`` (dataclasses, lists, dicts) read back as ``kind``; see ``records.plain``.

        Raises:
            UsageError: the kept value is of another version's ``kind``; ``--fresh`` forgets it.
        """
        return decode(kind, self.json(name, compute), f"The part {name!r}")

    def arrays(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of ``compute`` under their names, with dtype, shape and memory order kept bit for bit.

        Raises:
            TypeError: an array holds Python objects, which would need pickle.
        """
        path = self._path(name, "npz")
        kept = _read_arrays(path)
        if kept is not None:
            return kept
        content = npz(compute())
        if path is not None:
            write_atomic(path, content)
        return _from_npz(io.BytesIO(content))

    def mapped(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of ``compute``, which stay on disk and are read where they are looked at (memory-mapped).

        For what is large: each array is a .npy file of a folder that is whole or not there, its sha256 checked once as
        it is opened. Not to be written to. Raises as ``arrays``.
        """
        path = self._path(name, "npys")
        if path is None:
            return self.arrays(name, compute)
        kept = _map_arrays(path)
        if kept is None:
            arrays = compute()
            with whole_folder(path, replace=True) as folder:
                for key, array in arrays.items():
                    np.save(folder / f"{key}.npy", np.asarray(array), allow_pickle=False)
                digests = {key: sha256_of(folder / f"{key}.npy") for key in arrays}
                write_atomic(folder / _DIGESTS, dumps(digests))
            kept = _map_arrays(path)
        if kept is None:
            raise StorageError(f"{path} does not hold the arrays that were written; is the disk sound?")
        return kept

    def drop(self, name: str) -> None:
        """Forget the arrays of this name, which something else now holds."""
        path = self._path(name, "npz")
        if path is not None:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every part of every fingerprint beside this one: the run is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder.parent, ignore_errors=True)

    def _path(self, name: str, ending: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{_file_name(name)}.{ending}"


def _file_name(name: str) -> str:
    # Any text is a name; the digest keeps two names apart that look alike once cleaned, or to a caseless disk.
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60].strip('-')}-{_sha256(name)[:10]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read_json(path: Path | None, name: str) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        kept = json.loads(path.read_bytes())
        whole = kept["name"] == plain(name) and kept["sha256"] == _sha256(dumps(kept["value"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return kept if whole else None


def _read_arrays(path: Path | None) -> Arrays | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return _from_npz(file)
    except Exception:  # damage surfaces as almost any error of zipfile or NumPy; each means "compute it again"
        return None


_DIGESTS = "digests.json"


def _map_arrays(folder: Path) -> Arrays | None:
    try:
        digests = json.loads((folder / _DIGESTS).read_bytes())
        paths = {key: folder / f"{key}.npy" for key in digests}
        if any(sha256_of(path) != digests[key] for key, path in paths.items()):
            return None
        # An array without elements has no bytes to map.
        return {key: _mapped(path) for key, path in paths.items()}
    except (OSError, ValueError, TypeError):
        return None


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        return cast(NDArray[Any], np.load(path, allow_pickle=False))


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz file whose bytes depend on the arrays alone (np.savez may stamp the time)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise TypeError(
                    f"The array {name!r} holds Python objects; only numbers, booleans and text can be kept."
                )
            member = io.BytesIO()
            np.save(member, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def _from_npz(file: IO[bytes]) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        # read() checks the CRC of each member, so damage inside the numbers is found too.
        return {
            member.removesuffix(".npy"): np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
            for member in archive.namelist()
        }


def kept(store: Store | None, name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays from ``store``, or computed where there is none."""
    return compute() if store is None else store(name, compute)


def part_name(kind: str, *parts: object) -> str:
    """A name that differs wherever one of the parts (plain JSON data) does."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def array_digest(values: NDArray[Any]) -> str:
    """A digest of shape, type and every number."""
    values = np.ascontiguousarray(values)
    return part_name(f"{values.dtype}{values.shape}", hashlib.sha256(values.data).hexdigest())
