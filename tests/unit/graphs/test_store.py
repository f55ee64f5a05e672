"""A graph on the disk: the same as in memory, written whole, and refused where it is damaged."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import StorageError, UsageError
from armillary.graphs import KnowledgeGraph

FACTS = [("b", "r", "c"), ("a", "r", "b"), ("a", "s", "c"), ("a", "s", "c"), ("c", "r", "c")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    KnowledgeGraph.build(iter(FACTS), tmp_path / "graph")
    return tmp_path / "graph"


def test_what_was_built_is_what_is_in_memory(folder: Path) -> None:
    graph, memory = KnowledgeGraph.open(folder, verify=True), KnowledgeGraph.of(FACTS)
    assert list(graph) == list(memory) and graph.digest == memory.digest
    assert (graph.duplicates, graph.self_loops) == (1, 1)
    assert graph.heads("s", "c") == ("a",)
    column = graph.columns.edge_tails
    assert isinstance(column.base, np.memmap) and not column.flags.writeable


def test_a_folder_is_written_once_and_whole(folder: Path) -> None:
    with pytest.raises(StorageError, match="exists already"):
        KnowledgeGraph.build(FACTS, folder)

    def broken() -> Iterator[tuple[str, str, str]]:
        yield FACTS[0]
        raise UsageError("line 2 is bad.")

    with pytest.raises(UsageError, match="line 2 is bad"):
        KnowledgeGraph.build(broken(), folder.parent / "other")
    assert [path.name for path in folder.parent.iterdir()] == ["graph"]


def test_the_files_do_not_depend_on_the_order_of_the_stream(folder: Path) -> None:
    other = folder.parent / "other"
    KnowledgeGraph.build(FACTS[::-1], other)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_changed_byte_is_seen_when_contents_are_verified(folder: Path) -> None:
    for path in sorted(folder.glob("*.npy")):
        kept = path.read_bytes()
        changed(path)
        with pytest.raises(StorageError, match=f"{path.name} is damaged: its content"):
            KnowledgeGraph.open(folder, verify=True)
        path.write_bytes(kept)
    KnowledgeGraph.open(folder, verify=True)


def test_a_file_cut_short_or_missing_is_seen_at_once(folder: Path) -> None:
    for path in sorted(folder.glob("*.npy")):
        kept = path.read_bytes()
        path.write_bytes(kept[:-1])
        with pytest.raises(StorageError, match=f"{path.name} is damaged: it has"):
            KnowledgeGraph.open(folder)
        path.unlink()
        with pytest.raises(StorageError, match=f"{path.name} can't be read"):
            KnowledgeGraph.open(folder)
        path.write_bytes(b"\0" * len(kept))
        with pytest.raises(StorageError, match=f"{path.name} can't be read"):
            KnowledgeGraph.open(folder)
        path.write_bytes(kept)


def test_a_swapped_file_is_seen(folder: Path) -> None:
    np.save(folder / "edge_tails.npy", np.zeros(2, np.int64))  # of the same size: 4 numbers of 4 bytes, 2 of 8
    with pytest.raises(StorageError, match="its head names another array"):
        KnowledgeGraph.open(folder)


def test_a_header_that_was_touched_is_refused(folder: Path) -> None:
    path = folder / "graph.json"
    header = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**header, "triples": 5}), "utf-8")
    with pytest.raises(StorageError, match="does not match its own digest"):
        KnowledgeGraph.open(folder)
    path.write_text(json.dumps({**header, "format": "armillary graph 2"}), "utf-8")
    with pytest.raises(StorageError, match="is of the form 'armillary graph 2'"):
        KnowledgeGraph.open(folder)
    path.write_text("{", "utf-8")
    with pytest.raises(StorageError, match="can't be read"):
        KnowledgeGraph.open(folder)


def test_what_holds_no_graph_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(StorageError, match="is no folder"):
        KnowledgeGraph.open(tmp_path / "nothing")
    (folder / "graph.json").unlink()
    with pytest.raises(StorageError, match="holds no graph"):
        KnowledgeGraph.open(folder)
    shutil.rmtree(folder)
