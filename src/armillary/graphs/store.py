"""A graph on the disk: one folder of arrays with a header that names the size and digest of each, written once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import StorageError
from armillary.files import read_object, whole_folder
from armillary.graphs.columns import Columns
from armillary.graphs.names import Names

HEADER = "graph.json"
FORMAT = "armillary graph 1"
"""Name and version of the form; another version is refused."""


def array_digests(columns: Columns) -> dict[str, str]:
    """Hex sha256 of the bytes of each array; the same in memory and on the disk."""
    return {name: hashlib.sha256(array.data).hexdigest() for name, array in columns.arrays().items()}


def graph_digest(digests: dict[str, str]) -> str:
    """Sixteen hex digits that name a graph by what it holds: equal sets of triples have equal digests."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def _sealed(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def write_columns(columns: Columns, folder: Path) -> None:
    """Write a graph to a new folder, whole or not at all. StorageError where it exists or can't be written."""
    with whole_folder(folder) as aside:
        digests, files = array_digests(columns), {}
        for name, array in columns.arrays().items():
            path = aside / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            files[name] = {
                "bytes": path.stat().st_size,
                "dtype": array.dtype.str,
                "length": len(array),
                "sha256": digests[name],
            }
        header = {
            "format": FORMAT,
            "triples": len(columns.edge_tails),
            "entities": len(columns.entities),
            "relations": len(columns.relations),
            "duplicates": columns.duplicates,
            "self_loops": columns.self_loops,
            "files": files,
        }
        (aside / HEADER).write_text(json.dumps({**header, "seal": _sealed(header)}, indent=1) + "\n", "utf-8")


def read_columns(folder: Path, *, verify: bool) -> Columns:
    """The memory-mapped columns of a folder that ``write_columns`` made.

    The header's seal and the size and shape of each file are always checked; with ``verify`` also the digest of every
    array, for which all of it is read once.

    Raises:
        StorageError: there is no such folder, it holds no graph, or part of it is missing or damaged.
    """
    if not (folder / HEADER).is_file():
        kind = "holds no graph" if folder.is_dir() else "is no folder"
        raise StorageError(f"{folder} {kind}: {HEADER} is missing; make one with KnowledgeGraph.build.")
    header = dict(read_object(folder / HEADER))
    if header.get("format") != FORMAT:
        raise StorageError(
            f"{folder / HEADER} is of the form {header.get('format')!r}; this version reads {FORMAT!r}."
        )
    if header.pop("seal", None) != _sealed(header):
        raise StorageError(f"{folder / HEADER} is damaged: it does not match its own digest; build the graph again.")
    arrays = {}
    for name, facts in header["files"].items():
        path = folder / f"{name}.npy"
        try:
            size = path.stat().st_size
            if size != facts["bytes"]:
                raise StorageError(
                    f"{path} is damaged: it has {size:,} bytes and should have {facts['bytes']:,}; build it again."
                )
            # The plain view: element access of a memmap object is several times slower.
            arrays[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its head is no array's"
            raise StorageError(f"{path} can't be read ({reason}); build the graph again.") from error
        if (arrays[name].dtype.str, arrays[name].shape) != (facts["dtype"], (facts["length"],)):
            raise StorageError(f"{path} is damaged: its head names another array; build the graph again.")
        if verify and hashlib.sha256(arrays[name].data).hexdigest() != facts["sha256"]:
            raise StorageError(f"{path} is damaged: its content does not match its digest; build the graph again.")
    return Columns(
        entities=Names(arrays["entities"], arrays["entity_offsets"]),
        relations=Names(arrays["relations"], arrays["relation_offsets"]),
        offsets=arrays["offsets"],
        edge_relations=arrays["edge_relations"],
        edge_tails=arrays["edge_tails"],
        duplicates=header["duplicates"],
        self_loops=header["self_loops"],
    )
