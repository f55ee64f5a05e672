"""What is given wrong to ``armillary ultragen``: one sentence that says what and where, exit code 2, nothing left."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from armillary.cli.console import guarded
from armillary.cli.ultragen import analyse, build, check, derive, evaluate, train
from armillary.records.record import RunRecord

KIND = {"kind": "word_count", "params": {"lo": 1}, "text": "Write at least 1 words."}
ROW = {"response": "a", "attributes": [KIND]}
MANY = [{"kind": "keyword_include", "params": {"w": f"w{n}"}, "text": f'Include "w{n}".'} for n in range(200)]
COMMANDS = {"check": check.run, "derive": derive.run, "build": build.run}
ON_MODELS = {"evaluate": evaluate.run, "analyse": analyse.run}


def of(**params: object) -> dict[str, object]:
    return {**ROW, "attributes": [{**KIND, "params": params}]}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says of these arguments; it must be a sentence of one line."""

    def run(command: Callable[[Sequence[str]], int], *arguments: str) -> str:
        out = tmp_path / "refused"
        assert guarded(command, [*arguments, "--out", str(out)]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("armillary: ") and error.endswith(".") and "\n" not in error, error
        assert not (out / "record.json").exists()
        return error

    return run


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**ROW, "response": None}, r"line 2 of .* has no response \(its response is null\); give one as text under"),
        ({**ROW, "response": 3}, r"line 2 of .* has no response \(its response is 3\)"),
        ({**ROW, "response": ["a"]}, "line 2 of .* has no response"),
        ({**ROW, "attributes": []}, "line 2 of .* has no attributes to check; give them under attributes"),
        ({**ROW, "attributes": 3}, "line 2 of .*: its attributes are 3; accepted are a list of objects or sentences"),
        ({**ROW, "attributes": KIND}, "line 2 of .*: its attributes are {'kind'"),
        ({**ROW, "attributes": [{**KIND, "kind": "rhyme"}]}, "line 2 of .*: there is no kind 'rhyme'; known are"),
        ({**ROW, "attributes": [{**KIND, "params": [1]}]}, "line 2 of .*: an attribute is an object with kind"),
        (of(lo=5, hi=2), "line 2 of .*: word_count: lo=5 is above hi=2; lo must not exceed hi"),
        (of(lo=-5), "line 2 of .*: word_count: lo is -5; accepted is a whole number of at least 0"),
        (of(least=5), "line 2 of .*: word_count takes hi or hi, lo or lo; the given parameters were least"),
        ([1], "line 2 of .* is a list; give one object a line"),
        ('{"response": "a",', "line 2 of .* is not JSON; give one object a line"),
        (
            {"response": "a", "instruction_id_list": ["a:b"], "kwargs": [{}]},
            "line 2 of .*: no kind of attribute checks 'a:b'; to pass over such ids give",
        ),
        (
            {"response": "a", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
            "line 2 of .*: instruction_id_list and kwargs must be lists of one length",
        ),
        (
            {"response": "a", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]},
            "line 2 of .*: keywords:existence can't be read: the argument 'keywords' is missing",
        ),
    ],
)
def test_a_wrong_row_is_named(refused: Callable[..., str], tmp_path: Path, row: object, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = row if isinstance(row, str) else json.dumps(row)
    path.write_text(f"{json.dumps(ROW)}\n{wrong}\n")
    assert re.search(words, refused(check.run, str(path)))


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_files_and_texts(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    run = COMMANDS[command]

    def said(content: bytes, *more: str, name: str = "a.jsonl") -> str:
        (tmp_path / name).write_bytes(content)
        return refused(run, str(tmp_path / name), *more)

    assert "holds no" in said(b"") and "holds no" in said(b"\n \n")
    assert "line 1 of" in (error := said(b"\xff{}\n")) and "is not UTF-8" in error
    assert "line 2 of" in (error := said(b'{"text": "A b.", "response": "A b.", "attributes": ["x"]}\n{oops\n'))
    assert "is not JSON" in error
    assert "accepted are .jsonl" in said(b"x", name="a.txt")
    assert "is a folder" in refused(run, str(tmp_path))
    assert "there is no file of that name" in refused(run, str(tmp_path / "none.jsonl"))
    if command != "check":
        assert "line 1 of" in (error := said(b'{"text": null}\n')) and "has no text; give one under" in error
        assert "line 1 of" in (error := said(b'{"text": 3}\n')) and "has no text" in error
        assert "holds no text with a word" in said(b'{"text": " "}\n')
        assert "n must be 1 or more, got 0" in said(b'{"text": "A b."}\n', "--n", "0")
    if command == "build":
        assert "1 set of attributes makes no triplets" in said(b'{"text": "A word stands here."}\n')


@pytest.mark.parametrize("command", ON_MODELS)
def test_more_attributes_than_the_context_allows(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    path = tmp_path / "sets.jsonl"
    path.write_text(f"{json.dumps({'attributes': MANY})}\n" * 2)
    error = refused(ON_MODELS[command], "tiny-llama", str(path), "--max-new-tokens", "8")
    assert "a prompt of 201 lines has 3," in error and "with 8 new ones that is more than the 512 positions" in error
    path.write_text('{"attributes": ["Sing."]}\n' * 2)
    if command == "evaluate":
        error = refused(evaluate.run, "tiny-llama", str(path), "--max-new-tokens", "2", "--k", "1")
        assert "no attribute of the set '0' could be judged; soft ones need a judge" in error


def test_a_text_above_a_million_characters_is_read(tmp_path: Path) -> None:
    path, out = tmp_path / "long.jsonl", tmp_path / "out"
    attributes = [KIND, {"kind": "keyword_count", "params": {"w": "one", "rel": "=", "k": 10_001}, "text": "t"}]
    path.write_text(json.dumps({"response": f"one {'w' * 95} " * 10_001, "attributes": attributes}) + "\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("armillary.report.html.render_html", lambda record: record.title)
        assert guarded(check.run, [str(path), "--json", "--out", str(out)]) == 0
    assert RunRecord.load(out).measures["CSR"].estimate == 1


def test_training_data_that_are_none(refused: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("trl", exc_type=ImportError)
    assert "holds no ar.jsonl; give a folder that" in refused(train.run, "tiny-llama", str(tmp_path / "none"))
    (tmp_path / "sets.jsonl").write_text("")
    for content, words in (
        ("", "ar.jsonl holds no row; give the folder"),
        ('{"prompt": "p"}\n', "line 1 of ar.jsonl is no row with prompt, completion"),
    ):
        (tmp_path / "ar.jsonl").write_text(content)
        assert words in refused(train.run, "tiny-llama", str(tmp_path))
