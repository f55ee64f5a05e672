"""Bricks on disk: one folder a brick, named by its content, and an index that can be made again from the folders.

::

    library/
      library.json                 format, encoder of the keys, a line a brick
      keys.safetensors             keys float32 [N, q], owner int32 [N] (its number in library.json)
      bricks/<id>/brick.json       the specification
      bricks/<id>/brick.safetensors, or PEFT's adapter_config.json and adapter_model.safetensors

Bricks never change: a new version is a new brick that names its parent.
"""

import json
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays, save as save_arrays

from armillary.errors import StorageError, UsageError
from armillary.files import remove_stale_folders, sha256_of, storage_sentence, whole_folder, write_atomic
from armillary.methods.bricks.brick import Brick, Granularity, PayloadType
from armillary.methods.bricks.library.arrow import arrow_retrieve
from armillary.methods.bricks.library.folder import BrickCard, files_of, read_brick, read_card, write_brick
from armillary.methods.bricks.library.retrieval import Encoder, Retrieval, retrieve
from armillary.models.loaded import LoadedModel
from armillary.records.plain import decode, digest, dumps

INDEX, KEYS, BRICKS = "library.json", "keys.safetensors", "bricks"
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class EntryBase:
    """Of a brick's base what shows whether it can fit at all."""

    model_type: str
    shapes: str
    """sha256 over name and shape of every parameter."""


@dataclass(frozen=True, kw_only=True)
class LibraryEntry:
    """A brick's line in the index."""

    id: str
    name: str
    granularity: Granularity
    payload: PayloadType
    base: EntryBase
    capabilities: tuple[str, ...]
    bytes: int
    parents: tuple[str, ...]
    digest: str = ""
    """sha256 over every file of its folder as it was added; empty in a library of an earlier version."""

    @classmethod
    def of(cls, card: BrickCard, digest: str) -> "LibraryEntry":
        """The line of a brick."""
        return cls(
            id=card.id,
            name=card.name,
            granularity=card.granularity,
            payload=card.payload.type,
            base=EntryBase(model_type=card.base.model_type, shapes=card.base.shapes),
            capabilities=tuple(sorted(card.meta.capability)),
            bytes=card.cost.bytes,
            parents=card.parents,
            digest=digest,
        )


@dataclass(frozen=True, kw_only=True)
class EncoderName:
    """What a library's keys were read by."""

    name: str
    hash: str

    @classmethod
    def of(cls, name: str) -> "EncoderName":
        """The name with sixteen hex digits of its hash."""
        return cls(name=name, hash=digest(name)[:16])


@dataclass(frozen=True, kw_only=True)
class LibraryIndex:
    """What ``library.json`` holds; it can be made again from the folders."""

    format: Literal[1] = 1
    encoder: EncoderName | None = None
    """Of the keys; None where no brick has any."""

    bricks: tuple[LibraryEntry, ...] = ()


class BrickLibrary:
    """A folder of bricks, made if need be. One process at a time writes; readers need no lock."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            (self.path / BRICKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(storage_sentence(self.path, error)) from error

    def add(self, brick: Brick) -> str:
        """The id under which the brick is kept; adding it twice changes nothing.

        Raises UsageError where its keys are of another encoder than the library's, StorageError where nothing can be
        written (no part of the brick is left then).
        """
        with self._alone():
            encoder, keys = self._index().encoder, brick.meta.keys
            if keys is not None and encoder is not None and encoder != EncoderName.of(keys.encoder):
                raise UsageError(f"the library's keys are of {encoder.name!r}; the brick's are of {keys.encoder!r}.")
            folder = self.path / BRICKS / brick.id
            is_new = not folder.exists()
            if is_new:
                with whole_folder(folder) as aside:
                    write_brick(brick, aside)
            self._reindex(changed={brick.id} if is_new else ())
        return brick.id

    def remove(self, brick_id: str) -> str:
        """Take a brick out; its whole id. StorageError where it is not there."""
        with self._alone():
            folder = self._folder(brick_id)
            shutil.rmtree(folder)
            self._reindex()
        return folder.name

    def rebuild(self) -> int:
        """Number of bricks after ``library.json`` and the keys were made again from the folders, each of which is
        read and checked against its id."""
        with self._alone():
            folders = self._folders()
            for folder in folders:
                read_brick(folder)
            return self._reindex(changed={folder.name for folder in folders})

    def entries(self) -> tuple[LibraryEntry, ...]:
        """A line a brick, in the order of their ids."""
        return self._index().bricks

    def get(self, brick_id: str, *, layers: Sequence[int] | None = None) -> Brick:
        """The brick of an id or of the unambiguous beginning of one, checked against it; or only some layers of it."""
        brick = read_brick(self._folder(brick_id), layers=layers)
        if layers is None:
            self.folder(brick_id)
        return brick

    def folder(self, brick_id: str) -> Path:
        """Where the brick of an id, or of its beginning, is kept; what PEFT is given for a low-rank one.

        UsageError for what is no beginning of an id, StorageError where it is that of no brick or of several, or a
        file in it is not as it was added.
        """
        folder = self._folder(brick_id)
        kept = next((entry.digest for entry in self.entries() if entry.id == folder.name), "")
        if kept and kept != _folder_digest(folder):
            raise StorageError(f"{folder} is not as it was added: a file in it was changed. Rebuild, or add it again.")
        return folder

    def _folder(self, brick_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{4,64}", brick_id):
            raise UsageError(f"a brick is named by 4 to 64 hex digits of its id; got {brick_id!r}.")
        matching = sorted((self.path / BRICKS).glob(f"{brick_id}*"))
        if len(matching) != 1:
            what = "no brick" if not matching else f"{len(matching)} bricks"
            raise StorageError(f"{self.path} has {what} whose id begins with {brick_id}.")
        return matching[0]

    def search(
        self,
        query: str | Sequence[str],
        *,
        encoder: Encoder,
        name: str | None = None,
        k: int = 3,
        threshold: float = 0.0,
    ) -> list[Retrieval]:
        """For each query the bricks that fit it; an input that none comes near gets an empty choice that says so.

        ``name`` is the encoder's (by default its attribute ``name``) and must be that of the library's keys. Raises
        UsageError for another encoder or a library without keys.
        """
        keys, owners = self.keys()
        kept = self._index().encoder
        given = name or str(getattr(encoder, "name", ""))
        if kept is None or given != kept.name:
            raise UsageError(
                f"the library's keys are of the encoder {kept and kept.name!r}; the one given is {given!r}."
            )
        queries = [query] if isinstance(query, str) else query
        return retrieve(encoder, queries, keys, owners, k=k, threshold=threshold)

    def search_by_arrow(
        self, query: str | Sequence[str], loaded: LoadedModel, *, k: int = 3, threshold: float = 0.0
    ) -> list[Retrieval]:
        """For each query the low-rank bricks whose change answers it most (Arrow); no keys and no encoder are needed.

        ``loaded`` is the bricks' base, which is read alone. Names ``k`` bricks, or as many as there are. UsageError
        where the library has no low-rank brick or one is of another base.
        """
        bricks = [self.get(entry.id) for entry in self.entries() if entry.payload == "low_rank"]
        if not bricks:
            raise UsageError(f"{self.path} holds no low-rank brick, and Arrow knows no other.")
        queries = [query] if isinstance(query, str) else query
        return arrow_retrieve(loaded, queries, bricks, k=min(k, len(bricks)), threshold=threshold)

    def keys(self) -> tuple[NDArray[np.float32], list[str]]:
        """All keys ``[n, q]`` and the id of the brick of each; UsageError where no brick has keys."""
        try:
            arrays = load_arrays((self.path / KEYS).read_bytes())
        except FileNotFoundError:
            raise UsageError(f"no brick of {self.path} has keys; give bricks keys with make_keys.") from None
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{self.path / KEYS} can't be read: {error}; rebuild the library.") from error
        ids = [entry.id for entry in self.entries()]
        return arrays["keys"], [ids[owner] for owner in arrays["owner"]]

    def _index(self) -> LibraryIndex:
        try:
            return decode(LibraryIndex, json.loads((self.path / INDEX).read_text("utf-8")), str(self.path / INDEX))
        except FileNotFoundError:
            return LibraryIndex()
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path / INDEX} can't be read ({error}); rebuild the library.") from error
        except UsageError as error:
            raise StorageError(f"{error} Rebuild the library.") from error

    def _folders(self) -> list[Path]:
        return sorted(path for path in (self.path / BRICKS).iterdir() if _ID.fullmatch(path.name))

    def _reindex(self, changed: Collection[str] = ()) -> int:
        folders = self._folders()
        try:
            kept = {entry.id: entry.digest for entry in self.entries() if entry.id not in changed}
        except StorageError:  # an index that can't be read is what is mended here
            kept = {}
        cards = [read_card(folder) for folder in folders]
        for folder, card in zip(folders, cards, strict=True):
            if card.id != folder.name:
                raise StorageError(f"{folder} holds the brick {card.id[:16]}; a folder is named by its brick's id.")
        keyed = [(number, card.meta.keys) for number, card in enumerate(cards) if card.meta.keys is not None]
        encoders = sorted({keys.encoder for _, keys in keyed})
        if len(encoders) > 1:
            raise StorageError(f"{self.path} holds keys of several encoders: {', '.join(encoders)}.")
        if keyed:
            owners = [number for number, keys in keyed for _ in keys.values_KQ]
            arrays = {
                "keys": np.concatenate([keys.values_KQ for _, keys in keyed]),
                "owner": np.array(owners, dtype=np.int32),
            }
            write_atomic(self.path / KEYS, save_arrays(arrays))
        else:
            (self.path / KEYS).unlink(missing_ok=True)
        index = LibraryIndex(
            encoder=EncoderName.of(encoders[0]) if encoders else None,
            bricks=tuple(
                LibraryEntry.of(card, kept.get(card.id) or _folder_digest(folder))
                for folder, card in zip(folders, cards, strict=True)
            ),
        )
        write_atomic(self.path / INDEX, dumps(index, indent=1) + "\n")
        return len(cards)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with filelock.FileLock(self.path / ".lock").acquire(timeout=60):
                remove_stale_folders(self.path / BRICKS)
                yield
        except filelock.Timeout:
            raise StorageError(f"Another process has been writing to {self.path} for a minute; try again.") from None
        except OSError as error:
            raise StorageError(storage_sentence(self.path, error)) from error


def _folder_digest(folder: Path) -> str:
    return digest({path.relative_to(folder).as_posix(): sha256_of(path) for path in files_of(folder)})
