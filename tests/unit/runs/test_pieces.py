"""A file in pieces is the file: every row once, in order, with its place, wherever it is cut."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.runs import pieces as module
from armillary.runs.pieces import pieces, rows

CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n",;'), max_size=12)


def read(path: Path, size: int) -> list[tuple[str, dict[str, object]]]:
    return [(where, dict(row)) for piece in pieces(path, size) for where, row in rows(piece)]


@settings(max_examples=40, deadline=None)
@given(st.lists(CELLS, max_size=8), st.integers(1, 60), st.booleans())
def test_lines_of_json(tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, blank: bool) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    lines = [json.dumps({"text": text, "n": n}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)]
    path.write_text(("\n\n" if blank else "\n").join(lines), encoding="utf-8")
    wanted = [(f"line {n * (1 + blank) + 1} of {path}", {"text": text, "n": n}) for n, text in enumerate(texts)]
    assert read(path, size) == wanted


@settings(max_examples=40, deadline=None)
@given(
    st.lists(CELLS, max_size=8), st.integers(1, 60), st.integers(1, 90), st.booleans(), st.sampled_from([None, 2, -1])
)
def test_a_list_of_json(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, block: int, mark: bool, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("lists") / "a.json"
    wanted = [{"text": text, "more": {"n": [n, "]}"]}} for n, text in enumerate(texts)]
    # Indented or not, or without a list: objects one after the other.
    written = "\n".join(map(json.dumps, wanted)) if indent == -1 else json.dumps(wanted, indent=indent)
    path.write_text(written, encoding="utf-8-sig" if mark else "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCK", block)
        assert read(path, size) == [(f"item {n} of {path}", row) for n, row in enumerate(wanted, 1)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.integers(1, 60))
def test_tables_are_never_cut_inside_quotes(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], size: int
) -> None:
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "more"])
    writer.writerows(cells)
    path.write_bytes(written.getvalue().encode())
    assert [row for _, row in read(path, size)] == [{"text": a, "more": b} for a, b in cells]


def test_a_table_tells_the_line_on_which_a_row_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tn\n"two\nlines"\t1\nplain\t2\n"""quoted"""\t3\n')
    for size in (1, 1000):
        places = [(where.split()[1], row["text"]) for where, row in read(path, size)]
        assert places == [("2", "two\nlines"), ("4", "plain"), ("5", '"quoted"')]


def test_pieces_are_long_enough_and_do_not_depend_on_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * (n % 37)}) + "\n" for n in range(400)))
    cut = list(pieces(path, 500))
    assert len(cut) > 10 and all(piece.stop - piece.start >= 500 for piece in cut[:-1])
    assert [piece.index for piece in cut] == list(range(len(cut)))
    for block in (7, 64, 501):
        monkeypatch.setattr(module, "BLOCK", block)
        assert list(pieces(path, 500)) == cut


def test_columns_of_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = arrow.table({"text": [f"t{n}" for n in range(50)], "attributes": [[f"a{n}", "b"] for n in range(50)]})
    parquet.write_table(table, path, row_group_size=7)
    assert len(list(pieces(path, 1))) == 8 and len(list(pieces(path, 10**9))) == 1
    wanted = [(f"row {n + 1} of {path}", {"text": f"t{n}", "attributes": [f"a{n}", "b"]}) for n in range(50)]
    assert read(path, 1) == read(path, 10**9) == wanted


def test_what_can_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n[1]\n')
    with pytest.raises(UsageError, match=r"line 2 of .* is a list; give one object a line"):
        read(tmp_path / "a.jsonl", 1)
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n\n{"text": \n')
    with pytest.raises(UsageError, match=r"line 3 of .* is not JSON"):
        read(tmp_path / "a.jsonl", 1000)
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n{"text": "\xff"}\n')
    with pytest.raises(UsageError, match=r"line 2 of .* is not UTF-8"):
        read(tmp_path / "a.jsonl", 1000)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(UsageError, match=r"line 3 of .* has 1 cells and the header 2"):
        read(tmp_path / "a.csv", 1)
    (tmp_path / "a.csv").write_bytes(b"\xe9,b\n1,2\n")
    with pytest.raises(UsageError, match=r"line 1 of .* is not UTF-8"):
        read(tmp_path / "a.csv", 1)
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(UsageError, match=r"names the column 'a' twice"):
        read(tmp_path / "a.csv", 1)
    for text, words in (
        ('[{"a": 1}, {"a": ', "item 2 of .* is not JSON; give a list of objects"), ("[1]", "item 1 .* is a int"),
        ('[{"a": 1}', "item 2"), ('{"a": 1} x', "item 2 of .* is not JSON"),
        ('[{"a": 1}] [{"a": 2}]', "goes on behind its list"),
    ):  # fmt: skip
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(UsageError, match=words):
            read(tmp_path / "c.json", 1)
    (tmp_path / "c.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(UsageError, match="not UTF-8"):
        read(tmp_path / "c.json", 1)
    for name, words in (("a.txt", "accepted are .jsonl"), ("b.jsonl", "no file of that name"), ("", "is a folder")):
        with pytest.raises(UsageError, match=words):
            read(tmp_path / name, 1)
    (tmp_path / "empty.jsonl").write_text("")
    assert read(tmp_path / "empty.jsonl", 1) == []
