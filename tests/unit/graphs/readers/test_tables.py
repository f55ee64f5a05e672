"""Tables of triples in the dialects users have, and each wrong line named by its number."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from armillary.errors import StorageError, UsageError
from armillary.graphs import read_triples
from armillary.graphs.readers.lines import kind_of, streamed_lines
from armillary.graphs.readers.tables import parquet_triples

FACTS = [("Paris", "capital of", "France"), ("Bogot\u00e1", "in", "Colombia")]
TABS = "Paris\tcapital of\tFrance\nBogot\u00e1\tin\tColombia\n"


def read(path: Path, content: str | bytes) -> list[tuple[str, str, str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_triples(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("facts.tsv", TABS),
        ("facts.txt", TABS.replace("\n", "\r\n")),
        ("facts.TSV", "\ufeff" + TABS.rstrip("\n")),
        ("facts.tab", "Head\tRelation\tTail\n" + TABS + "\n \n"),
        ("facts.csv", "Paris,capital of,France\nBogot\u00e1,in,Colombia\n"),
        ("facts.csv", 'object,id,subject,predicate\nFrance,1,Paris,capital of\n"Colombia",2,"Bogot\u00e1", in \n'),
        ("facts.tsv.gz", gzip.compress(TABS.encode(), mtime=0)),
        ("facts.tsv.bz2", bz2.compress(TABS.encode())),
        ("facts.tsv.xz", lzma.compress(TABS.encode())),
    ],
)
def test_triples_of_a_table(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read(tmp_path / name, content) == FACTS


def test_quotes_hold_what_parts_fields_in_csv_and_are_text_in_tsv(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", '"Paris, Texas","said ""hi""","two\nlines"\nx,y,z\n') == [
        ("Paris, Texas", 'said "hi"', "two\nlines"), ("x", "y", "z"),
    ]  # fmt: skip
    assert read(tmp_path / "a.tsv", 'a"\tb,\t"c\n') == [('a"', "b,", '"c')]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "a\tb\tc\na\tb\n", "line 2 of .*a.tsv has 2 fields; a triple has three"),
        ("a.tsv", "a b c\n", "line 1 of .* has 1 fields"),
        ("a.tsv", "\n\na\tb\tc\td\n", "line 3 of .* has 4 fields"),
        ("a.tsv", "a\t \tc\n", "line 1 of .* has an empty field"),
        ("a.tsv", b"a\tb\tc\n\xff\tb\tc\n", "line 2 of .* is not UTF-8"),
        ("a.csv", "head,x,relation,tail\na,1,b,c\na,1,b\n", "line 3 of .* has 3 fields"),
        ("a.csv", 'a,b,c\n"a"x,b,c\n', "line 2 of .* is no CSV"),
        ("a.csv", 'a,b,c\n"a,b,c\n', "line 2 of .* is no CSV"),
        ("a.json", "[]", "ending .json; triples are read from .tsv, .txt, .csv, .tab, .parquet and .nt"),
        ("a", "", "ending of no kind"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path / name, content)


def test_a_wrong_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file of that name"):
        list(read_triples(tmp_path / "a.tsv"))
    (tmp_path / "b.tsv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        list(read_triples(tmp_path / "b.tsv"))
    with pytest.raises(StorageError, match="could not be read"):
        read(tmp_path / "c.tsv.gz", gzip.compress(TABS.encode(), mtime=0)[:-9])
    with pytest.raises(StorageError, match="could not be read"):
        read(tmp_path / "c.tsv.xz", b"no archive")


def test_lines_come_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"good\n\n" + b"also\x0bgood\n" + b"\xff\n")
    lines = streamed_lines(path)
    assert next(lines) == (1, "good") and next(lines) == (3, "also\x0bgood")
    with pytest.raises(UsageError, match="line 4"):
        next(lines)
    assert [kind_of(Path(name)) for name in ("a.b.csv", "a.NT.gz", "a.gz", "a")] == [".csv", ".nt", "", ""]


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def written(**columns: list[object]) -> Path:
        parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    heads, kinds, tails = (list(part) for part in zip(*FACTS, strict=True))
    assert list(read_triples(written(id=[1, 2], tail=tails, head=heads, relation=kinds))) == FACTS
    assert list(read_triples(written(x=heads, y=kinds, z=tails))) == FACTS
    four = written(x=heads, y=kinds, z=tails, w=[1, 2])
    assert list(parquet_triples(four, ("x", "y", "z"))) == FACTS
    with pytest.raises(UsageError, match="columns 'x', 'y', 'z', 'w'; name those"):
        list(read_triples(four))
    with pytest.raises(UsageError, match="has no column 'v'"):
        list(parquet_triples(four, ("x", "y", "v")))
    with pytest.raises(UsageError, match=r"row 2 of .* is \('b', None, 'c'\)"):
        list(read_triples(written(x=["a", "b"], y=["r", None], z=["c", "c"])))
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="no parquet file that can be read"):
        list(read_triples(tmp_path / "b.parquet"))
    with pytest.raises(UsageError, match="no file of that name"):
        list(read_triples(tmp_path / "c.parquet"))
