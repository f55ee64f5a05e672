"""Bricks on disk: one folder a brick, named by its content, and an index that can be made again from the folders.

::

    library/
      library.json                 format, encoder of the keys, a line a brick
      keys.safetensors             keys float32 [N, q], owner int32 [N] (place in library.json)
      bricks/<id>/brick.json       the specification
      bricks/<id>/brick.safetensors, or PEFT's adapter_config.json and adapter_model.safetensors

Bricks never change: a new version is a new brick that names its parent.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays, save as save_arrays

from armillary.errors import StorageError, UsageError
from armillary.files import remove_stale_folders, storage_sentence, whole_folder, write_atomic
from armillary.methods.bricks.brick import Brick, BrickMeta
from armillary.methods.bricks.library.arrow import arrow_retrieve
from armillary.methods.bricks.library.folder import read_brick, read_card, write_brick
from armillary.methods.bricks.library.retrieval import Encoder, Retrieval, retrieve
from armillary.models.loaded import LoadedModel
from armillary.records.plain import digest

INDEX, KEYS, BRICKS = "library.json", "keys.safetensors", "bricks"
_FORMAT = 1
_ID = re.compile(r"[0-9a-f]{64}")


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
            encoder = self._index().get("encoder")
            keys = brick.meta.keys
            if keys is not None and encoder not in (None, {"name": keys.encoder, "hash": digest(keys.encoder)[:16]}):
                raise UsageError(
                    f"the library's keys are of {encoder['name']!r}; the brick's are of {keys.encoder!r}."
                )
            folder = self._folder(brick.id)
            if not folder.exists():
                with whole_folder(folder) as aside:
                    write_brick(brick, aside)
            self._reindex()
        return brick.id

    def remove(self, brick_id: str) -> None:
        """Take a brick out; StorageError where it is not there."""
        with self._alone():
            shutil.rmtree(self._found(brick_id))
            self._reindex()

    def rebuild(self) -> int:
        """Number of bricks after ``library.json`` and the keys were made again from the folders."""
        with self._alone():
            return self._reindex()

    def entries(self) -> list[dict[str, Any]]:
        """A line a brick: id, name, granularity, base, capabilities, bytes, payload, parents."""
        return [dict(line) for line in self._index()["bricks"]]

    def get(self, brick_id: str, *, layers: Sequence[int] | None = None) -> Brick:
        """The brick of an id or of the unambiguous beginning of one, checked against it; or only some layers of it."""
        return read_brick(self._found(brick_id), layers=layers)

    def folder(self, brick_id: str) -> Path:
        """Where a brick is kept; what PEFT is given for a low-rank one."""
        return self._found(brick_id)

    def search(
        self,
        query: str | Sequence[str],
        *,
        encoder: Encoder,
        name: str | None = None,
        k: int = 3,
        threshold: float = 0.0,
        temperature: float | None = None,
    ) -> list[Retrieval]:
        """For each query the bricks that fit it; an input that none comes near gets an empty choice that says so.

        ``name`` is the encoder's (by default its attribute ``name``) and must be that of the library's keys. Raises
        UsageError for another encoder or a library without keys.
        """
        index = self._index()
        keys, owners = self.keys()
        encoder_name = name or str(getattr(encoder, "name", ""))
        kept = index["encoder"]["name"]
        if encoder_name != kept:
            raise UsageError(f"the library's keys are of the encoder {kept!r}; the one given is {encoder_name!r}.")
        queries = [query] if isinstance(query, str) else query
        return retrieve(encoder, queries, keys, owners, k=k, threshold=threshold, temperature=temperature)

    def search_by_arrow(
        self, query: str | Sequence[str], loaded: LoadedModel, *, k: int = 3, threshold: float = 0.0
    ) -> list[Retrieval]:
        """For each query the low-rank bricks whose change answers it most (Arrow); no keys and no encoder are needed.

        ``loaded`` is the bricks' base, which is read alone. Names ``k`` bricks, or as many as there are. UsageError
        where the library has no low-rank brick or one is of another base.
        """
        bricks = [self.get(entry["id"]) for entry in self.entries() if entry["payload"] == "low_rank"]
        if not bricks:
            raise UsageError(f"{self.path} holds no low-rank brick, and Arrow knows no other.")
        queries = [query] if isinstance(query, str) else query
        return arrow_retrieve(loaded, queries, bricks, k=min(k, len(bricks)), threshold=threshold)

    def keys(self) -> tuple[NDArray[np.float32], list[str]]:
        """All keys ``[n, q]`` and the id of the brick of each; UsageError where no brick has keys."""
        try:
            held = load_arrays((self.path / KEYS).read_bytes())
        except FileNotFoundError:
            raise UsageError(f"no brick of {self.path} has keys; give bricks keys with make_keys.") from None
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{self.path / KEYS} can't be read: {error}; rebuild the library.") from error
        ids = [line["id"] for line in self._index()["bricks"]]
        return held["keys"], [ids[owner] for owner in held["owner"]]

    def _found(self, brick_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{4,64}", brick_id):
            raise UsageError(f"a brick is named by 4 to 64 hex digits of its id; got {brick_id!r}.")
        matching = sorted((self.path / BRICKS).glob(f"{brick_id}*"))
        if len(matching) != 1:
            what = "no brick" if not matching else f"{len(matching)} bricks"
            raise StorageError(f"{self.path} has {what} whose id begins with {brick_id}.")
        return matching[0]

    def _folder(self, brick_id: str) -> Path:
        return self.path / BRICKS / brick_id

    def _index(self) -> dict[str, Any]:
        try:
            index = json.loads((self.path / INDEX).read_text("utf-8"))
        except FileNotFoundError:
            return {"format": _FORMAT, "encoder": None, "bricks": []}
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path / INDEX} can't be read ({error}); rebuild the library.") from error
        if not isinstance(index, dict) or index.get("format") != _FORMAT:
            raise StorageError(f"{self.path / INDEX} is not of format {_FORMAT}; rebuild the library.")
        return index

    def _reindex(self) -> int:
        folders = sorted(path for path in (self.path / BRICKS).iterdir() if _ID.fullmatch(path.name))
        cards = [read_card(folder) for folder in folders]
        for folder, card in zip(folders, cards, strict=True):
            if card["id"] != folder.name:
                raise StorageError(f"{folder} holds the brick {card['id'][:16]}; a folder is named by its brick's id.")
        keyed = [(place, keys) for place, card in enumerate(cards) if (keys := BrickMeta.from_dict(card["meta"]).keys)]
        encoders = sorted({keys.encoder for _, keys in keyed})
        if len(encoders) > 1:
            raise StorageError(f"{self.path} holds keys of several encoders: {', '.join(encoders)}.")
        encoder = {"name": encoders[0], "hash": digest(encoders[0])[:16]} if encoders else None
        if keyed:
            owners = [place for place, keys in keyed for _ in keys.values_KQ]
            arrays = {
                "keys": np.concatenate([keys.values_KQ for _, keys in keyed]),
                "owner": np.array(owners, dtype=np.int32),
            }
            write_atomic(self.path / KEYS, save_arrays(arrays))
        else:
            (self.path / KEYS).unlink(missing_ok=True)
        index = {"format": _FORMAT, "encoder": encoder, "bricks": [_line(card) for card in cards]}
        write_atomic(self.path / INDEX, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
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


def _line(card: dict[str, Any]) -> dict[str, Any]:
    base = {name: card["base"][name] for name in ("model_type", "shapes")}
    return {
        "id": card["id"],
        "name": card["name"],
        "granularity": card["granularity"],
        "payload": card["payload"]["type"],
        "base": base,
        "capabilities": sorted(card["meta"]["capability"]),
        "bytes": card["cost"]["bytes"],
        "parents": card["parents"],
    }
