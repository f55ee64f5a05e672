"""Every reader of a user's file, over the dialects in which files are written: what was written comes back exactly, or
is refused by an ``ArmillaryError``; never another exception, never other values."""

import csv
import gzip
import io
import json
import os
import re
import shutil
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from armillary.cli.bricks.edit import FactsFile
from armillary.data import load_relation_file
from armillary.data.images.user_files import read_questions
from armillary.data.tables import read_table
from armillary.data.vector_files import numbers_of, read_labelled, read_vectors, task_of
from armillary.errors import ArmillaryError, UsageError
from armillary.files import read_toml, text_lines
from armillary.methods.icn.templates import load_template
from armillary.methods.modeldiff.sheets import SheetRow, export_sheet, read_ratings
from armillary.records.plain import decode
from armillary.records.record import RunRecord

FOLDER = Path(tempfile.gettempdir()) / f"armillary-users-files-{os.getpid()}"
FEW = settings(max_examples=40, deadline=None)

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
ENDS = st.sampled_from(["\n", "\r\n"])
SIGNS = "abcé漢 0,;.\t\"'\\=#[]{}\u2028\u2029\x85\x0b\x0c\x1c\x7f\xa0\ufeff\U0001f600"
"""Letters, and all that some reader takes for more than a letter."""

TEXT = st.text(SIGNS, max_size=8)
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.sampled_from(
    [
        "001",
        "1",
        "1.0",
        "1e5",
        "0,5",
        "1,000",
        "NA",
        "N/A",
        "None",
        "null",
        "nan",
        "true",
        "True",
        "-",
        "2024-01-31",
        "x",
    ]
)


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Iterator[None]:
    FOLDER.mkdir()
    yield
    shutil.rmtree(FOLDER)


def written(content: str | bytes, name: str, encoding: str = "utf-8") -> Path:
    """A file of this content; a mark of the encoding goes first where it has one."""
    path = FOLDER / name
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def sheet(rows: list[list[str]], separator: str, end: str, quoting: Any, named: bool) -> str:
    """Rows as a spreadsheet or pandas writes them."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    return (f"sep={separator}{end}" if named else "") + text.getvalue()


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What was read; None where it was refused in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except ArmillaryError as error:
            assert str(error) and "\n" not in re.sub(r"\s*'(?:[^'\\]|\\.)*'", "", str(error))
            return None


DIALECTS = st.tuples(
    st.sampled_from(",;\t"), ENDS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans(), ENCODINGS
)


@given(st.lists(st.text(SIGNS + "\r", max_size=8)), ENCODINGS, ENDS, st.booleans())
@FEW
def test_lines_end_at_line_feeds_alone(lines: list[str], encoding: str, end: str, closed: bool) -> None:
    lines = [line.replace("\ufeff", "").rstrip("\r") for line in lines]  # at the beginning it would be the mark
    content = end.join(lines) + (end if closed else "")
    assume("\n" in content or "\r" not in content)  # else refused: it may be a file of an old Mac
    path = written(content, "lines.txt", encoding)
    assert text_lines(path) == [line for line in lines if line.strip()]


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=4), DIALECTS)
@FEW
def test_cells_come_back(rows: list[list[str]], dialect: Any) -> None:
    separator, end, quoting, named, encoding = dialect
    path = written(sheet([["a", "b", "c"], *rows], separator, end, quoting, named), "cells.csv", encoding)
    table = read_or_refused(lambda: read_table(path))
    while rows and not "".join(rows[-1]).strip():  # what a spreadsheet leaves below its last row
        rows = rows[:-1]
    assert table is None or (table.columns == ("a", "b", "c") and table.rows == rows)


@given(st.lists(st.lists(st.text("ab é'=#\u2028\x85", min_size=1), min_size=3, max_size=3), min_size=1), DIALECTS)
@FEW
def test_plain_tables_are_read_in_every_dialect(rows: list[list[str]], dialect: Any) -> None:
    assume("".join(rows[-1]).strip())
    table = read_table(written(sheet([["a", "b", "c"], *rows], *dialect[:4]), "plain.csv", dialect[4]))
    assert (table.columns, table.rows, table.separator) == (("a", "b", "c"), rows, dialect[0])


@given(
    st.lists(st.tuples(NUMBERS, st.one_of(NUMBERS, st.integers()), LABELS), min_size=1, max_size=5),
    DIALECTS,
    st.sampled_from(".,"),
    st.sampled_from(["columns", "index", "list", "array"]),
)
@FEW
@example([(1.125, 2, "x"), (0.0, 3, "y")], (";", "\n", csv.QUOTE_MINIMAL, False, "utf-8"), ",", "columns")
@example([(1.125, 2, "x")], (",", "\n", csv.QUOTE_MINIMAL, False, "utf-8"), ",", "columns")
@example([(1.0, 2**53 + 1, "001")], (",", "\n", csv.QUOTE_MINIMAL, False, "utf-8"), ".", "columns")
def test_vectors_and_labels_come_back(rows: list[Any], dialect: Any, mark: str, form: str) -> None:
    names = {"columns": ["a", "b"], "index": ["", "a", "b"], "list": ["n", "a"], "array": ["n", "a"]}[form]

    def cells(number: int, a: float, b: float) -> list[str]:
        if form in ("list", "array"):
            return [str(number), str([a, b]) if form == "list" else f"[{a!r} {b!r}]"]
        return ["" if form == "columns" else str(number), *(repr(value).replace(".", mark) for value in (a, b))]

    lines = [[*cells(number, a, b)[-len(names) :], label] for number, (a, b, label) in enumerate(rows)]
    path = written(sheet([[*names, "label"], *lines], *dialect[:4]), "vectors.csv", dialect[4])
    labelled = read_or_refused(lambda: read_labelled(path, "label"))
    if form == "index" or any(int(b) != float(b) for _, b, _ in rows if isinstance(b, int)):
        assert labelled is None, "a nameless column, or a whole number that a float can't hold"
    if labelled is not None:
        assert labelled.targets == tuple(label for _, _, label in rows)
        assert labelled.vectors.tolist() == [[a, float(b)] for a, b, _ in rows]
        again = read_or_refused(lambda: read_vectors(path, columns=labelled.columns, target="label", size=2))
        assert again is not None and (again.vectors == labelled.vectors).all()


@given(st.lists(NUMBERS, min_size=21, max_size=24, unique=True), st.sampled_from(".,"), st.sampled_from(",;"))
@FEW
def test_values_come_back(values: list[float], mark: str, separator: str) -> None:
    texts = [repr(value).replace(".", mark) for value in values]
    assert task_of(texts)[0] == "regress"
    numbers = read_or_refused(lambda: numbers_of(texts, separator))
    assert numbers == values or (numbers is None and mark == "," == separator)


KINDS = st.one_of(arrays.scalar_dtypes(), st.sampled_from([np.dtype([("a", "f8")]), np.dtype("c16"), np.dtype("U3")]))


@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)), st.booleans())
@FEW
def test_arrays_come_back(array: Any, fortran: bool) -> None:
    np.save(FOLDER / "vectors.npy", np.asfortranarray(array) if fortran else array)
    file = read_or_refused(lambda: read_vectors(FOLDER / "vectors.npy"))
    if file is not None:
        assert file.vectors.dtype == np.float64 and file.vectors.flags["C_CONTIGUOUS"]
        assert array.dtype.itemsize > 8 or file.vectors.tolist() == array.tolist()  # wider ones are rounded
    elif array.dtype.kind == "f" and array.ndim == 2 and array.dtype.itemsize <= 8:
        assert not np.isfinite(array).all()


@given(
    st.lists(st.tuples(ANY_TEXT, TEXT, st.booleans()), min_size=1, max_size=4),
    ENCODINGS,
    ENDS,
    st.booleans(),
    st.booleans(),
)
@FEW
def test_questions_come_back(rows: list[Any], encoding: str, end: str, ascii: bool, listed: bool) -> None:
    Image.new("RGB", (3, 3)).save(FOLDER / "image.png")
    data = [
        {"image": "image.png", "question": f"q{question}?", "answer": f"a{answer}", "note": [1, None]}
        | ({"choices": [f"a{answer}", "other"]} if choices else {})
        for question, answer, choices in rows
    ]
    lines = [json.dumps(data)] if listed else [json.dumps(row, ensure_ascii=ascii) for row in data]
    questions = read_questions(written(end.join([*lines, "", ""]), "questions.jsonl", encoding), "task")
    assert [(q.question, q.answer, q.choices, q.task) for q in questions] == [
        (row["question"], row["answer"], tuple(row["choices"]) if "choices" in row else None, "task") for row in data
    ]


@given(st.lists(TEXT.map(str.strip).filter(bool), min_size=2, unique=True), ANY_TEXT, ENCODINGS, ENDS)
@FEW
def test_relations_come_back(words: list[str], note: str, encoding: str, end: str) -> None:
    listed = json.dumps(words, ensure_ascii=False).replace("\x7f", "\\u007f")
    content = [
        *('id = "mine"', 'source_template = "{} is"', 'target_template = "of {} is"'),
        *(f"source_words = {listed}", f"target_words = {listed}", f"note = {json.dumps(note.replace(chr(127), ''))}"),
    ]
    assume(all(ord(sign) < 0x10000 for sign in note))  # JSON's pairs of escapes are no TOML
    relation = load_relation_file(written(end.join(content), "mine.toml", encoding))
    assert (relation.source_words, relation.note) == (tuple(words), note.replace("\x7f", ""))


@given(
    st.lists(st.tuples(ANY_TEXT, st.floats(0, 1)), min_size=1, max_size=5),
    DIALECTS,
    st.sampled_from(".,"),
    st.booleans(),
)
@FEW
def test_ratings_come_back(rows: list[Any], dialect: Any, mark: str, short: bool) -> None:
    handed = [SheetRow(f"a{number}", "a", text) for number, (text, _) in enumerate(rows)]
    export_sheet(handed, FOLDER / "out.csv")
    header, *lines = csv.reader(io.StringIO((FOLDER / "out.csv").read_text("utf-8-sig"), newline=""))
    ratings = {f"a{number}": rating for number, (_, rating) in enumerate(rows)}
    filled = [[*line[:3], repr(ratings[line[0]]).replace(".", mark)] for line in lines]
    filled[0] = filled[0][: 3 if short else 4]
    assume("\r" not in "".join(line[2] for line in filled) and "\0" not in "".join(line[2] for line in filled))
    path = written(sheet([header, *filled], *dialect[:4]), "filled.csv", dialect[4])
    back = read_or_refused(lambda: read_ratings(path))
    assert back is None or back == {id: ratings[id] for id, *_ in filled[1 if short else 0 :]}


RECORD = json.loads((Path(__file__).parents[2] / "records" / "lincorr.json").read_text("utf-8"))
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.just([]), st.just({}), st.just([[1]]))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), LEAF)
@settings(max_examples=25, deadline=None)
def test_a_spoilt_record_is_refused(path: list[int], leaf: Any) -> None:
    record = node = json.loads(json.dumps(RECORD))
    for step in path:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = list(keys)[step % len(keys)]
        if step == path[-1] or not isinstance(node[key], (dict, list)) or not node[key]:
            node[key] = leaf
            break
        node = node[key]
    saved = written(json.dumps(record), "record.json")
    read_or_refused(lambda: RunRecord.load(saved))


READERS: dict[str, Callable[[Path], Any]] = {
    "lines.txt": text_lines,
    "table.csv": lambda path: read_labelled(path, "label"),
    "new.csv": read_vectors,
    "vectors.npy": read_vectors,
    "ratings.csv": read_ratings,
    "questions.jsonl": lambda path: read_questions(path, "task"),
    "relation.toml": load_relation_file,
    "template.toml": load_template,
    "facts.toml": lambda path: decode(FactsFile, read_toml(path), "facts"),
    "record.json": RunRecord.load,
}
HEADS = [
    b"",
    b"a,label\n",
    b"id;rating\n",
    b'{"image": ',
    b"[[fact]]\n",
    b"\x93NUMPY\x01\x00",
    b"PK\x03\x04",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", READERS)
@given(head=st.sampled_from(HEADS), rest=st.one_of(st.binary(max_size=40), TEXT.map(str.encode)))
@settings(max_examples=30, deadline=None)
@example(head=b"", rest=b"[" * 3000)
@example(head=b"a = ", rest=b"[" * 3000)
def test_any_bytes_are_read_or_refused(name: str, head: bytes, rest: bytes) -> None:
    read_or_refused(lambda: READERS[name](written(head + rest, name)))


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_such_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / name).mkdir(parents=True)
    for path in (tmp_path / name, tmp_path / "folder" / name, tmp_path / "folder" / name / name / name):
        with pytest.raises(ArmillaryError):
            READERS[name](path)
    (tmp_path / name).write_bytes(gzip.compress(b"a,label\n1,x\n", mtime=0))
    with pytest.raises(ArmillaryError, match=r"compressed \(gzip\); unpack it|can't be read as a table|no valid JSON"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b,label\n1,2,x\n3,y\n", "row 2 .* has 2 cells and its header 3"),
        ("a,b,label\n1,2,x\n3,4,y,z\n", "row 2 .* has 4 cells and its header 3"),
        ("a,a,label\n1,2,x\n", "two columns 'a'"),
        (",a,label\n0,1,x\n", "column 1 of .* has no name"),
        ("label,a,Unnamed: 0.1\nx,1,0\n", "column 3 of .* has no name"),
        ("a,label\n1 000.5,x\n", "column 'a' of .* holds '1 000.5' in row 1: .* thousands"),
        ("a,label\n1_000,x\n2,y\n", "holds '1_000' in row 1: no number"),
        ("a,label\n9007199254740993,x\n", "holds '9007199254740993' in row 1: digits that a number loses"),
        ('a,label\n"0,5",x\n0.5,y\n', "with a decimal point .* and with a comma"),
        ('a,label\n"1,500",x\n"2,500",y\n', "may be a decimal comma or part thousands"),
        ("a,label\n1,x\nNA,y\n", "holds 'NA' in row 2: no number"),
        ("a;b;label\n1.25;0,5;x\n", "with a decimal point \\('1.25'\\) and with a comma \\('0,5'\\)"),
        ("a;b,label\n1;2,x\n", "may be parted by ',' or ';'"),
        ('label,e\nx,"[0.1, 0.2]"\ny,"[0.1]"\n', "row 2; it needs lists"),
        ('label,e\nx,"[0.1 ... 0.2]"\n', "row 1; it needs lists"),
        ('label,e\nx,"[0,1, 0,2]"\n', "row 1; it needs lists"),
        ('label,n,e\nx,7,"(np.float64(0.1), np.float64(0.2))"\n', "row 1; it needs lists"),
        ("label,n,e\nx,7,1;2;3;4;5;6;7;8\n", "row 1; it needs lists"),
        ('label,e,f\nx,[1],[2]\n', "several columns of lists"),
        ("a,label\r1,x\r2,y\n", "stands alone in a line"),
        ("a|label\n1|x\n", "parted by commas, semicolons or tabs"),
        ("", "is empty"),
        ("a,label\n", "one row or more"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*the vectors are the lists")
def test_tables_are_refused_by_row(content: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_labelled(written(content, "bad.csv"), "label")


@pytest.mark.parametrize(
    ("content", "vectors"),
    [
        ("sep=;\na;label\n0,5;x\n", [[0.5]]),
        ("a\tlabel\n.5\tx\n", [[0.5]]),
        ("a,label,\n1,x,\n,,\n", [[1.0]]),
        ("0,1,label\n5,6,x\n", [[5.0, 6.0]]),
        ("id,a,label\n70,1,x\n71,2,y\n", [[1.0], [2.0]]),
        ('label,n,e\nx,7,"array([0.1, 0.2], dtype=float32)"\n', [[0.1, 0.2]]),
        ('label,n,e\nx,7,"tensor([0.1, 0.2])"\n', [[0.1, 0.2]]),
        ('label,e\nx,"(0.1, 0.2)"\n', [[0.1, 0.2]]),
        ('label,n,e\nx,7,"{1,2,3,4,5,6,7,8.5}"\n', [[1, 2, 3, 4, 5, 6, 7, 8.5]]),
        ("label,n,e\nx,7,1 2 3 4 5 6 7 8.5\n", [[1, 2, 3, 4, 5, 6, 7, 8.5]]),
        ('label,e\nx,"[0.1\n 0.2]"\n', [[0.1, 0.2]]),
        ("a,note,label\n1,[1] see,x\n2,three,y\n", [[1.0], [2.0]]),
        ("a,note,label\n1,5,x\n2,red,y\n3,blue,z\n", [[1.0], [2.0], [3.0]]),
        ("a,label\r1,x\r", [[1.0]]),
        ("\ufeff\ufefflabel,a\nx,1\n", [[1.0]]),
        ("sample_id,PassengerId,a,label\n70,1,1,x\n71,2,2,y\n", [[1.0], [2.0]]),
        ("acid,grid,my_id,label\n1,2,7,x\n3,4,7,y\n", [[1.0, 2.0, 7.0], [3.0, 4.0, 7.0]]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*not in the vectors", "ignore:.*the vectors are the lists")
def test_tables_are_read(content: str, vectors: list[list[float]]) -> None:
    assert read_labelled(written(content, "good.csv"), "label").vectors.tolist() == vectors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"image": "image.png", "question": "q", "answer": "a",}\n', "line 1 of .* is not JSON"),
        ('{"image": "image.png", "question": "q", "answer": "a", "answer": "b"}\n', "line 1 of .* has 'answer' twice"),
        ('\n\n{"image": "image.png", "question": "q", "answer": NaN}\n', "line 3 of .* holds NaN"),
        ('{"image": "image.png", "question": "\\ud800", "answer": "a"}\n', "line 1 of .* is not JSON"),
        ('[{"image": "image.png", "question": "q"}]', "item 1 of .* needs text under 'answer'; got nothing"),
        ('{"image": "image.png", "question": "q", "answer": "a", "choises": ["a", "b"]}\n', "did you mean 'choices'"),
        ('{"image": "image.png", "question": "q", "answer": 3}\n', "needs text under 'answer'; got 3"),
        ("[1]\n[2]\n", "line 1 of .* is of type list"),
    ],
)
def test_questions_are_refused_by_line(content: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_questions(written(content, "bad.jsonl"), "task")


def test_the_sign_before_a_toml_file_is_no_fault() -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_toml(written("steps = 3\r\n", "settings.toml", encoding)) == tomllib.loads("steps = 3")


@pytest.mark.parametrize("beginning", [b"PAR1", b"BZh91AY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0"])
def test_files_of_other_programs_are_named(beginning: bytes) -> None:
    with pytest.raises(UsageError, match=r"compressed \((bzip2|xz|zstd)\)|old Excel workbook|Parquet file"):
        read_table(written(beginning + b"\n1,2\n", "table.csv"))


def test_records_of_texts_are_not_taken_for_texts() -> None:
    np.save(FOLDER / "rows.npy", np.ones((1, 2)))
    for name in ("targets.jsonl", "targets.npy"):
        with pytest.raises(UsageError, match="one a line, or as FILE"):
            read_labelled(FOLDER / "rows.npy", str(written('{"text": "red"}\n', name)))
    for name in ("texts.jsonl", "texts.CSV"):
        with pytest.raises(UsageError, match="write its texts alone to a"):
            text_lines(written('{"text": "red"}\n', name))
