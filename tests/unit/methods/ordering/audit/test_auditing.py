"""Counts of an audit against samples counted one by one, and the same data back in another order and shape."""

import csv
import errno
import json
import os
from itertools import permutations
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import StorageError, UsageError
from armillary.methods.ordering.audit import sources
from armillary.methods.ordering.audit.auditing import AuditPlan, audit_piece
from armillary.methods.ordering.audit.examples import shortened, stayed
from armillary.methods.ordering.audit.page import audit_page
from armillary.methods.ordering.audit.sources import opened_source, read_samples
from armillary.methods.ordering.audit.tally import KINDS, OTHERS, OrderTally
from armillary.methods.ordering.audit.writing import written
from armillary.methods.ordering.measures import metrics, violations
from armillary.methods.ordering.orders import order
from armillary.methods.ordering.readers.plain import PlainReader
from armillary.records.plain import decode, plain

Row = dict[str, Any]


def row(number: int) -> Row:
    """Six steps in an order of their own; step k depends on k - 1 and k - 2."""
    line = list(permutations(range(6)))[number * 131 % 720] if number % 3 else tuple(range(6))
    place = {step: at for at, step in enumerate(line)}
    deps = [[place[before] for before in (step - 1, step - 2) if before >= 0] for step in line]
    steps = [{"text": f"step {step} of {number}", "kind": "odd" if step % 2 else "even"} for step in line]
    return {"id": f"row {number}", "prompt": f"p{number}", "steps": steps, "deps": deps, "more": [number]}


ROWS = [row(number) for number in range(40)]


def audited(path: Path, plan: AuditPlan | None = None, target: Path | None = None, format: str = "auto") -> OrderTally:
    source = opened_source(path, format)
    plan = plan or AuditPlan(reader=source.reader, rewrite=target is not None)
    tally = OrderTally()

    def counted(piece: sources.AuditPiece) -> OrderTally:
        # As a record's parts keep it.
        return decode(OrderTally, plain(audit_piece(piece, plan)), "a piece")

    if target is None:
        for piece in source.pieces():
            tally.merge(counted(piece), plan.examples)
        return tally
    with written(source, target) as write:
        for piece in source.pieces():
            counts = counted(piece)
            write(piece, counts.changed)
            tally.merge(counts, plan.examples)
    return tally


def lines(path: Path, rows: list[Row] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_counts_are_those_of_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(tmp_path / "a.jsonl", [*ROWS, {"prompt": "no steps"}, {"steps": ["a", "b"]}])
    tally = audited(path)
    samples = [sample for row in ROWS if (sample := PlainReader()(row))]
    assert [*read_samples(path)][:40] == samples
    late = [violations(sample) for sample in samples]
    assert (tally.samples, tally.free, tally.unread) == (41, 1, 1)
    assert (tally.steps, tally.edges, tally.inferred) == (242, 40 * 9, 0)
    assert tally.late == sum(map(bool, late)) and tally.late_edges == sum(map(len, late))
    assert tally.longest == max(support - at for pairs in late for at, support in pairs)
    assert sum(sums.x for sums in tally.distances.values()) == tally.late_edges == sum(tally.pairs.values())
    measured = [metrics(sample) for sample in samples]
    for name in ("vf", "wvf", "lag", "tau"):
        sums = getattr(tally, name)
        assert sums.n == 40 and sums.x == pytest.approx(sum(getattr(one, name) for one in measured))
    assert tally.kinds["odd"].y == 40 * 3 and tally.kinds["even"].y == 40 * 2
    # The same from many small pieces, whose counts are added.
    monkeypatch.setattr(sources, "PIECE", 700)
    assert len([*opened_source(path).pieces()]) > 10
    again = audited(path)
    assert (again.examples, again.pairs, again.late_edges) == (tally.examples, tally.pairs, tally.late_edges)
    for name in ("vf", "lag"):
        assert getattr(again, name).xx == pytest.approx(getattr(tally, name).xx)


def reordered(rows: list[Row]) -> list[tuple[list[str], list[list[str]]]]:
    """Texts in the sequential order, and for each those of its supports."""
    samples = [order(sample) for row in rows if (sample := PlainReader()(row))]
    return [read(sample.steps) for sample in samples]


def read(steps: Any) -> tuple[list[str], list[list[str]]]:
    texts = {step.id: step.text for step in steps}
    return [*texts.values()], [[texts[name] for name in step.deps] for step in steps]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "b.json"])
def test_rows_come_back_in_order_in_their_own_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source, target = tmp_path / name, tmp_path / "new" / name
    if name == "a.json":
        source.write_text(json.dumps(ROWS, indent=1), "utf-8-sig")
    else:
        lines(source)
    monkeypatch.setattr(sources, "PIECE", 900)
    tally = audited(source, target=target)
    assert tally.unwritten == 0
    text = target.read_text("utf-8")
    rows = json.loads(text) if name == "a.json" else [json.loads(line) for line in text.splitlines()]
    assert [row["more"] for row in rows] == [row["more"] for row in ROWS]
    samples = [sample for row in rows if (sample := PlainReader()(row))]
    assert [read(sample.steps) for sample in samples] == reordered(ROWS)
    assert audited(target).late == 0
    if name == "a.jsonl":
        kept = [number for number in range(40) if number % 3 == 0]
        assert all(text.splitlines()[at] == json.dumps(ROWS[at]) for at in kept), "what is in order is copied"


def test_tables_texts_and_folders_come_back_too(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["n", "answer"], ["1", "a = b\nb = 2"], ["2", "c = 1\nd = c"]])
    audited(table, target=tmp_path / "b.csv", format="scratchpad")
    with open(tmp_path / "b.csv", newline="") as file:
        assert [*csv.reader(file)] == [["n", "answer"], ["1", "b = 2\na = b"], ["2", "c = 1\nd = c"]]
    audited(table, target=tmp_path / "b.jsonl", format="scratchpad")
    assert json.loads((tmp_path / "b.jsonl").read_text().splitlines()[0]) == {"n": "1", "answer": "b = 2\na = b"}
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.py").write_text("import os\n\n\ndef one():\n    return 1\n\n\ndef two():\n    return one()\n")
    (folder / "inner" / "b.py").write_text("def one():\n    return two()\n\n\ndef two():\n    return 2\n")
    (folder / "inner" / "c.py").write_bytes(b"x = '\xff'\n")
    (folder / ".hidden" / "d.py").write_text("def one():\n    return two()\n\n\ndef two():\n    return 2\n")
    (folder / "notes.txt").write_text("not read")
    tally = audited(folder, target=tmp_path / "copy")
    assert (tally.samples, tally.late, tally.refused) == (2, 1, 1)
    assert "c.py" in tally.refusals[0] and "UTF-8" in tally.refusals[0]
    assert sorted(str(file.relative_to(tmp_path / "copy")) for file in (tmp_path / "copy").rglob("*.py")) == [
        "a.py", "inner/b.py", "inner/c.py",
    ]  # fmt: skip
    assert (tmp_path / "copy" / "a.py").read_bytes() == (folder / "a.py").read_bytes()
    # What can't be written in another order without saying something else is copied, and counted.
    assert audited(tmp_path / "copy").late == tally.unwritten


def test_what_is_in_order_is_copied_to_the_byte(tmp_path: Path) -> None:
    late, fine = {"steps": ["\ud83d", "b"], "deps": [[1], []]}, '{"steps":["a"],  "deps":[[]]}\r\n'
    (tmp_path / "a.jsonl").write_bytes(f"{fine}{json.dumps(late)}\r\n{fine}".encode())
    audited(tmp_path / "a.jsonl", target=tmp_path / "b.jsonl")
    first, moved, last = (tmp_path / "b.jsonl").read_bytes().decode().splitlines(keepends=True)
    assert first == last == fine and moved.endswith("}\r\n")
    assert [step["text"] for step in json.loads(moved)["steps"]] == ["b", "\ud83d"], "half a pair is still one"
    kept = '"1","a = b\nc = 2"\r\n'
    (tmp_path / "a.csv").write_bytes(f'n,answer\r\n{kept}"2","d = e\ne = 2"\r\n\r\n{kept}'.encode())
    audited(tmp_path / "a.csv", target=tmp_path / "b.csv", format="scratchpad")
    assert (tmp_path / "b.csv").read_bytes().decode() == f'n,answer\r\n{kept}2,"e = 2\nd = e"\r\n\r\n{kept}'


def test_parquet_comes_back(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = [{"answer": f"a = b + {n}\nb = {n}", "raw": b"\x00\xff"} for n in range(9)]
    parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=2)
    audited(path, target=tmp_path / "b.parquet", format="scratchpad")
    again = parquet.read_table(tmp_path / "b.parquet")
    assert again.to_pylist() == [{"answer": f"b = {n}\na = b + {n}", "raw": b"\x00\xff"} for n in range(9)]
    parquet.write_table(arrow.Table.from_pylist([{"steps": ["x", "y"], "deps": [[1], []]}]), path)
    with pytest.raises(UsageError, match=r"d.parquet is no Parquet file \(.*magic bytes"):
        (tmp_path / "d.parquet").write_bytes(bytes(99))
        opened_source(tmp_path / "d.parquet")
    with pytest.raises(UsageError, match=r"don't fit its columns .* ends in \.jsonl"):
        audited(path, target=tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(7)))
def test_as_few_steps_as_can_be_are_told_as_moved(places: list[int]) -> None:
    kept = stayed(places)
    assert [at for at in places if at in kept] == sorted(kept)
    longest = max(
        sum(bits >> at & 1 for at in range(7)) for bits in range(128)
        if (line := [places[at] for at in range(7) if bits >> at & 1]) == sorted(line)
    )  # fmt: skip
    assert len(kept) == longest


def test_a_long_sample_is_shown_by_what_moves(tmp_path: Path) -> None:
    steps = [f"step {at} " + "word " * 100 for at in range(40)]
    deps: list[list[int]] = [[] for _ in steps]
    deps[10] = [30]
    tally = audited(lines(tmp_path / "a.jsonl", [{"prompt": "p", "steps": steps, "deps": deps}]))
    [example] = tally.examples
    assert [(step.place, step.skipped, step.moved) for step in example.before] == [
        (0, 10, False), (11, 0, False), (0, 19, False), (31, 0, True), (0, 9, False),
    ]  # fmt: skip
    assert [(step.place, step.other) for step in example.after if not step.skipped] == [(11, 31), (12, 11)]
    assert example.before[1].note == "needs step 31, 20 below"
    assert len(example.before[1].text) < 300 and " … " in example.before[1].text
    assert shortened("short", 9, 1) == "short"
    assert shortened("a\nb\nc\nd\ne", 99, 4) == "a\nb\n…\ne"
    # Of one in which everything moves only the step that waits longest.
    turned = [[at + 1] if at < 39 else [] for at in range(40)]
    turned[3] = [4, 20, 30]
    tally = audited(lines(tmp_path / "b.jsonl", [{"prompt": "p", "steps": steps, "deps": turned}]))
    shown = [step.place for step in tally.examples[0].before if not step.skipped]
    assert shown == [4, 5, 21, 31] and tally.examples[0].before[1].note == "needs steps 5, 21, 31, up to 27 below"


def test_names_that_are_no_kinds_stay_few(tmp_path: Path) -> None:
    rows = [
        {"steps": [{"text": "a", "kind": f"k{n}"}, {"text": "b", "kind": f"l{n}"}], "deps": [[1], []]}
        for n in range(100)
    ]
    tally = audited(lines(tmp_path / "a.jsonl", rows))
    assert len(tally.kinds) == KINDS + 1 and tally.kinds[OTHERS].n == 100 - KINDS
    assert len(tally.pairs) == KINDS + 1 and sum(tally.pairs.values()) == 100


def test_the_page_tells_what_was_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [*ROWS, {"steps": ["a"], "deps": [[0]]}, {"prompt": "none"}])
    page = audit_page(audited(path), "a.jsonl", format="plain", order="seq")
    assert [section.id for section in page.sections] == ["counts", "distances", "kinds", "examples", "refused"]
    texts = " ".join(finding.text for finding in page.findings)
    assert "(26 of 40) a step stands before what supports it" in texts
    assert "1 record was refused" in texts and "in a circle" in texts and "1 record holds no steps" in texts
    assert page.measures["samples out of order"].estimate == 26 / 40
    in_order = audit_page(audited(lines(tmp_path / "b.jsonl", ROWS[::3])), "b", format="plain", order="seq")
    assert "In all 14 samples with dependencies every step stands behind its support" in in_order.findings[0].text
    assert [section.id for section in in_order.sections] == ["counts"]
    free = audit_page(audited(lines(tmp_path / "c.jsonl", [{"steps": ["a", "b"]}])), "c", format="plain", order="seq")
    assert "every order of them is sequential" in free.findings[0].text and free.measures == {}
    some = audited(lines(tmp_path / "d.jsonl", [{"steps": ["a", "b"]}, {"steps": ["a"], "deps": [[3]]}]))
    refused = audit_page(some, "d", format="plain", order="seq").findings
    assert len(refused) == 2 and refused[1].text.startswith("1 record was refused")


def refusing(folder: str) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied", str(folder))


def test_sources_that_can_not_be_read_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.jsonl").write_text("\n")
    (tmp_path / "prose.jsonl").write_text('{"prose": "nothing of steps"}\n')
    for name, words in (
        ("missing.jsonl", "no file or folder of that name"),
        ("a.txt", r"not of a kind that is read; accepted are \.jsonl"),
        ("empty", "holds no file that is read"), ("none.jsonl", "holds no row"),
        ("prose.jsonl", r"prose.jsonl: no format's marks are in more than 50% of the first 1 rows"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            opened_source(tmp_path / name)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.py").write_text("import os\n")
    lines(mixed / "b.jsonl")
    with pytest.raises(
        UsageError, match=r"holds rows \(b.jsonl ...\) beside .py files; choose .* --format: python-code"
    ):
        opened_source(mixed)
    assert opened_source(mixed, "plain").files == (mixed / "b.jsonl",)
    with pytest.raises(
        UsageError, match=r"not of a kind that is read as plain; accepted are .*\.parquet, and folders"
    ):
        opened_source(mixed / "a.py", "plain")
    with pytest.raises(StorageError, match="could not be read: File name too long"):
        opened_source("x" * 300)
    with (
        pytest.raises(StorageError, match="could not be written"),
        written(opened_source(mixed / "b.jsonl"), mixed / "a.py" / "b.jsonl"),
    ):
        pass
    with (
        monkeypatch.context() as patched,
        pytest.raises(StorageError, match="mixed could not be read: Permission denied"),
    ):
        patched.setattr(os, "scandir", refusing)
        opened_source(mixed)
    with pytest.raises(UsageError, match="there is no format 'poem'; choose one of plain"):
        opened_source(tmp_path / "prose.jsonl", "poem")
    path = lines(tmp_path / "rows.jsonl")
    for target, words in ((path, "is what is read"), (tmp_path / "b.csv", r"must end in \.jsonl")):
        with pytest.raises(UsageError, match=words), written(opened_source(path), target):
            pass
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.py").write_text("import os\n")
    with pytest.raises(UsageError, match="exists already"), written(opened_source(tmp_path / "d"), tmp_path / "empty"):
        pass
    bad = lines(tmp_path / "bad.jsonl", [ROWS[0], {"steps": ["a"], "deps": [[3]]}])
    with pytest.raises(UsageError, match=r"line 2 of .*: step '0' depends on '3', which is no step"):
        [*read_samples(bad)]
