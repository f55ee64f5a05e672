"""Vectors and targets from files: what is read, what is refused and with which row, what the targets are taken for."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.data.vector_files import (
    held_out_rows,
    numbers_of,
    read_labelled,
    read_vectors,
    targets_file,
    task_of,
    usual,
)
from armillary.errors import UsageError


def written(folder: Path, text: str, name: str = "v.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def saved(folder: Path, array: Any, name: str = "v.npy") -> Path:
    np.save(folder / name, array, allow_pickle=True)
    return folder / name


def test_a_csv_gives_its_columns_but_the_target(tmp_path: Path) -> None:
    # A byte order mark, quotes, a blank line, and lines that end as on Windows.
    path = written(tmp_path, '\ufeffa,kind,b\r\n1,"red, dark",2.5\r\n\r\n-3e1,blue,0\r\n')
    found = read_labelled(path, "kind")
    assert found.columns == ("a", "b") and found.targets == ("red, dark", "blue")
    assert found.vectors.dtype == np.float64 and found.vectors.tolist() == [[1.0, 2.5], [-30.0, 0.0]]


def test_an_array_goes_with_a_text_file(tmp_path: Path) -> None:
    path = saved(tmp_path, np.arange(6, dtype=np.int16).reshape(3, 2))
    targets = written(tmp_path, "one\ntwo words\nthree", "t.txt")
    found = read_labelled(path, str(targets))
    assert found.columns is None and found.targets == ("one", "two words", "three")
    assert found.vectors.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert read_vectors(path).targets is None


def test_an_array_goes_with_a_column_of_another_file(tmp_path: Path) -> None:
    path = saved(tmp_path, np.ones((2, 2)))
    sheet = written(tmp_path, 'id,a:b\n1,"red, dark"\n2,blue\n', "t.csv")
    assert read_labelled(path, f"{sheet}:a:b").targets == ("red, dark", "blue")
    assert targets_file(f"{sheet}:a:b") == sheet and targets_file("t.txt") == Path("t.txt")
    with pytest.raises(UsageError, match="no column 'c'; its columns are 'id', 'a:b'"):
        read_labelled(path, f"{sheet}:c")
    with pytest.raises(UsageError, match=r"which column of .*t\.csv are the targets\? Give .*t\.csv:COLUMN"):
        read_labelled(path, str(sheet))
    with pytest.raises(UsageError, match="there is no file"):
        read_labelled(path, f"{tmp_path / 'no.csv'}:a")
    written(tmp_path, "a\nred\n", "short.csv")
    with pytest.raises(UsageError, match=r"has 2 rows and .*short\.csv:a has 1 targets"):
        read_labelled(path, f"{tmp_path / 'short.csv'}:a")


def test_columns_of_texts_are_left_out_and_told(tmp_path: Path) -> None:
    path = written(tmp_path, "who,a,kind,empty,b\nann,1,x,,2\nben,3,y,,4\n")
    with pytest.warns(UserWarning, match="without numbers: 'who', 'empty'"):
        found = read_labelled(path, "kind")
    assert found.columns == ("a", "b") and found.vectors.tolist() == [[1, 2], [3, 4]]
    assert read_vectors(path, columns=found.columns, target="kind", size=2).vectors.tolist() == [[1, 2], [3, 4]]
    assert read_vectors(path).columns == ("a", "b")
    with pytest.raises(UsageError, match="no column of numbers beside"):
        read_labelled(written(tmp_path, "who,kind\nann,x\n", "t.csv"), "kind")


def test_new_vectors_come_in_the_columns_of_the_old(tmp_path: Path) -> None:
    path = written(tmp_path, "b,kind,a\n2,red,1\n")
    found = read_vectors(path, columns=("a", "b"), target="kind", size=2)
    assert found.vectors.tolist() == [[1.0, 2.0]]
    with pytest.raises(UsageError, match="has no column 'c'"):
        read_vectors(path, columns=("a", "c"), target="kind", size=2)
    with pytest.raises(UsageError, match="vectors of 2 numbers; 3 are expected"):
        read_vectors(path, target="kind", size=3)
    with pytest.warns(UserWarning, match="not in the vectors, which have the columns of the fit: 'b'"):
        assert read_vectors(path, columns=("a",), target="kind", size=1).vectors.tolist() == [[1.0]]
    with pytest.raises(UsageError, match=r"column 'b' of .* holds 'x' in row 1"):
        read_vectors(written(tmp_path, "a,b\n1,x\n", "w.csv"), columns=("a", "b"), size=2)
    with pytest.raises(UsageError, match="vectors of 4 numbers; 3 are expected"):
        read_vectors(saved(tmp_path, np.ones((2, 4))), size=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,kind\n1,x\nnan,y\n", "row 2 of .* holds NaN"),
        ("a,kind\n1,x\n,y\n", "row 2 of .* holds NaN, infinity or nothing"),
        ("a,kind\n1,x\ninf,y\n", "row 2 of .* holds NaN, infinity"),
        ("a,kind\n1,x\nred,y\n", "column 'a' of .* holds 'red' in row 2: no number"),
        ("a,kind\n1,x\n2, \n", "target of row 2 is empty"),
        ("a,b\n1,x\n", "no column 'kind'; its columns are 'a', 'b'"),
        ("a,a,kind\n1,2,x\n", "two columns 'a'"),
        ("a,kind\n1,x,3\n", "row 1 of .* has 3 cells and its header 2"),
        ("kind\nx\n", "no column of numbers beside the target"),
        ("1,2\n3,4\n", "begins with numbers"),
        ("a,kind\n", "needs a line with the columns' names"),
        ('a,kind\n"1,x\n', "can't be read as comma-separated"),
    ],
)
def test_a_bad_csv_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read_labelled(written(tmp_path, text), "kind")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.ones(3), r"two dimensions, one row a vector; it has shape \(3,\)"),
        (np.ones((0, 3)), "holds no vectors"),
        (np.array([[1.0], [np.nan]]), "row 2 of .* holds NaN"),
        (np.array([["a"]]), "no table of real numbers"),
        (np.array([[1, None]], dtype=object), "can't be read as a table"),
    ],
)
def test_a_bad_array_is_refused(array: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read_labelled(saved(tmp_path, array), "nowhere.txt")


def test_files_that_are_not_there_or_not_alike(tmp_path: Path) -> None:
    path = saved(tmp_path, np.ones((3, 2)))
    with pytest.raises(UsageError, match=r"has 3 rows and .* has 2 targets"):
        read_labelled(path, str(written(tmp_path, "a\nb\n", "t.txt")))
    for name in ("no.csv", "no.npy"):
        with pytest.raises(UsageError, match="there is no file"):
            read_labelled(tmp_path / name, "x")
    with pytest.raises(UsageError, match=r"neither a \.npy nor a \.csv"):
        read_vectors(written(tmp_path, "1", "v.txt"))
    (tmp_path / "latin.csv").write_bytes(b"a,kind\n1,\xe9\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_labelled(tmp_path / "latin.csv", "kind")


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (["a", "b"] * 3, "classify"),
        (["1", "0"] * 3, "classify"),
        (["1.5", "2", "3e1", "4"], "regress"),
        (["1.5", "two", "3", "4"], "describe"),
        ([str(n % 21) for n in range(84)], "regress"),
    ],
)
def test_what_targets_are_taken_for(targets: list[str], task: str) -> None:
    assert task_of(targets)[0] == task


def test_numbers_are_finite(tmp_path: Path) -> None:
    assert numbers_of(["1", "-2.5"]) == [1.0, -2.5]
    with pytest.raises(UsageError, match="row 2 is 'x', which is not a number"):
        numbers_of(["1", "x"])
    with pytest.raises(UsageError, match="row 2 is 'nan'"):
        numbers_of(["1", "nan"])


def test_held_out_rows_are_of_each_class_alike() -> None:
    targets = ["a"] * 40 + ["b"] * 20 + ["c"]
    rows = held_out_rows(targets, 0.25, 200, 0, of_each=True)
    assert rows == sorted(set(rows)) and Counter(targets[row] for row in rows) == {"a": 10, "b": 5}
    assert rows == held_out_rows(targets, 0.25, 200, 0, of_each=True)
    assert rows != held_out_rows(targets, 0.25, 200, 1, of_each=True)
    few = held_out_rows(targets, 0.5, 6, 0, of_each=True)
    assert Counter(targets[row] for row in few) == {"a": 4, "b": 2}
    assert len(held_out_rows(targets, 0.99, 200, 0, of_each=False)) == 60
    with pytest.raises(UsageError, match="too few"):
        held_out_rows(["a", "b"], 0.5, 200, 0, of_each=True)


def test_the_usual_target_is_the_most_frequent() -> None:
    assert usual(["b", "a", "c", "a", "b"]) == "a"
