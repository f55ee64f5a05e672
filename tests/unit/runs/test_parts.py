"""Parts are computed once, come back exactly, and survive damage."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from armillary.records.plain import digest, dumps, plain
from armillary.runs.parts import Parts


def never() -> Any:
    raise AssertionError("the part was there and should not be computed again")


def part_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / ".parts").rglob("*") if path.is_file())


def test_json_is_the_same_when_computed_and_when_read_back(tmp_path: Path) -> None:
    value = {"pair": (1, 2.5), "nan": math.nan, "inf": [-math.inf], 3: np.float32(0.1), "array": np.arange(3)}
    first = Parts(tmp_path, "f").json("a", lambda: value)
    again = Parts(tmp_path, "f").json("a", never)
    assert first == again
    assert first == {"pair": [1, 2.5], "nan": None, "inf": [None], "3": float(np.float32(0.1)), "array": [0, 1, 2]}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_json_takes_the_round_trip_once_and_for_all(value: Any) -> None:
    once = plain(value)
    assert dumps(once) == dumps(value)
    assert plain(once) == once


def test_a_none_is_kept_too(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "f")
    assert parts.json("nothing", lambda: None) is None
    assert parts.json("nothing", never) is None


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    arrays = {
        "b": np.asfortranarray(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)),
        "a": np.array([math.nan, math.inf, -0.0]),
        "words": np.array(["grün", "a"]),
        "scalar": np.array(7),
    }
    first = Parts(tmp_path, "f").arrays("x", lambda: arrays)
    again = Parts(tmp_path, "f").arrays("x", never)
    for read in (first, again):
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            assert read[name].flags.f_contiguous == array.flags.f_contiguous
            assert read[name].tobytes("A") == array.tobytes("A")


def test_array_files_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        Parts(tmp_path / name, "f").arrays("x", lambda: {"a": np.arange(5.0)})
        contents.append(part_files(tmp_path / name)[0].read_bytes())
    assert contents[0] == contents[1]


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="holds Python objects"):
        Parts(tmp_path, "f").arrays("x", lambda: {"a": np.array([{}], dtype=object)})
    with pytest.raises(TypeError, match="can't be kept"):
        Parts(tmp_path, "f").json("x", lambda: {"a": object()})
    assert part_files(tmp_path) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def flip(content: bytes) -> bytes:
    # A digit of the kept value: the file still parses, only its checksum tells.
    return content.replace(b"12345", b"12346")


@pytest.mark.parametrize("damage", [cut, empty, flip])
def test_a_damaged_part_is_computed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    parts = Parts(tmp_path, "f")
    parts.json("json", lambda: [12345])
    parts.arrays("arrays", lambda: {"a": np.frombuffer(b"12345678", dtype=np.uint8)})
    for path in part_files(tmp_path):
        damaged = damage(path.read_bytes())
        assert damaged != path.read_bytes()
        path.write_bytes(damaged)
    assert parts.json("json", lambda: [7]) == [7]
    assert parts.arrays("arrays", lambda: {"a": np.array([7])})["a"].tolist() == [7]
    assert parts.json("json", never) == [7]
    assert parts.arrays("arrays", never)["a"].tolist() == [7]


def test_every_flipped_byte_is_harmless(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "f")
    parts.arrays("x", lambda: {"a": np.arange(4.0)})
    (path,) = part_files(tmp_path)
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 0x10]) + whole[index + 1 :])
        read = parts.arrays("x", lambda: {"a": np.arange(4.0)})
        assert [array.tolist() for array in read.values()] == [[0.0, 1.0, 2.0, 3.0]]


def test_a_failed_computation_keeps_nothing(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "f")
    with pytest.raises(ZeroDivisionError):
        parts.json("x", lambda: 1 / 0)
    assert parts.json("x", lambda: 2) == 2


def test_names_that_look_alike_stay_apart(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "f")
    names = ["a/b", "a b", "../a b", "A B", "", "日本", "x" * 500, "x" * 499, "CON", "a\x00b", "\ud800"]
    for name in names:
        assert parts.json(name, partial(names.index, name)) == names.index(name)
    for name in names:
        assert parts.json(name, never) == names.index(name)
    assert all(path.parent.parent.parent == tmp_path for path in part_files(tmp_path))


def test_another_fingerprint_sees_nothing_and_stale_files_go(tmp_path: Path) -> None:
    Parts(tmp_path, "one").json("x", lambda: 1)
    stale = part_files(tmp_path)[0].parent / ".00.armillary-tmp"
    stale.write_text("half")
    assert Parts(tmp_path, "two").json("x", lambda: 2) == 2
    assert Parts(tmp_path, "one").json("x", never) == 1
    assert not stale.exists()
    Parts(tmp_path, "one").clear()
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written_but_the_form_is_the_same() -> None:
    parts = Parts(None, "f")
    assert parts.json("x", lambda: (1, math.nan)) == [1, None]
    assert parts.json("x", lambda: 2) == 2
    assert parts.arrays("x", lambda: {"a": np.arange(2)})["a"].tolist() == [0, 1]
    parts.clear()


def test_the_digest_names_the_value_not_the_order() -> None:
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) != digest({"a": "2"})


@dataclass(frozen=True)
class Reading:
    step: int
    loss: float


def test_what_is_decoded_is_the_same_when_computed_and_when_read_back(tmp_path: Path) -> None:
    made = {"lift": [Reading(1, 0.5), Reading(2, float("nan"))]}
    first = Parts(tmp_path, "f").decoded(dict[str, list[Reading]], "losses", lambda: made)
    again = Parts(tmp_path, "f").decoded(dict[str, list[Reading]], "losses", lambda: pytest.fail("computed twice"))
    assert repr(first) == repr(again) == repr(made)
