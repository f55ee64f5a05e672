"""``armillary ultragen derive`` and ``check``: what is derived is met, what fails is shown where, a killed job goes "
"on."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from armillary.attributes.attribute import Attribute, soft
from armillary.cli.main import main
from armillary.errors import UsageError
from armillary.methods.ultragen.corpus import checking, deriving
from armillary.methods.ultragen.soft.extraction import Extraction
from armillary.records.record import RunRecord
from armillary.records.sections import MarkedTexts
from armillary.report.marked_texts import markup
from armillary.runs import engines, pieces as module
from armillary.runs.pieces import Piece

TEXTS = [
    f"The harbour of town {n} lay quiet, and the fog was thick. Marta counted {n + 3} lights twice.\n\n"
    f"Then ferry number {n} left. Nobody waved from the rail; the bell rang on, and on, until it was far away."
    for n in range(12)
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a page takes longer than all else here; tests of the report draw each kind of figure."""
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: record.title)


def write(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Prompts of twelve texts; every second response is its own text, the others say something else."""
    texts = write(tmp_path / "texts.jsonl", [{"id": n, "text": text} for n, text in enumerate([*TEXTS, " "])])
    assert main(["ultragen", "derive", str(texts), "--out", str(tmp_path / "derived"), "--n", "12"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "derived" / "attributes.jsonl").read_text().splitlines()]
    assert [row["response"] for row in rows] == TEXTS and [row["id"] for row in rows] == [str(n) for n in range(12)]
    for row in rows[1::2]:
        row["response"] = "<b>Something else</b>, with commas, again, and again!"
    return write(tmp_path / "answers.jsonl", rows)


def check(path: Path, out: Path, *more: str) -> RunRecord:
    assert main(["ultragen", "check", str(path), "--out", str(out), *more]) == 0
    return RunRecord.load(out)


def test_texts_meet_what_was_derived_from_them_and_others_show_where_they_fail(answers: Path, tmp_path: Path) -> None:
    derived = RunRecord.load(tmp_path / "derived")
    assert derived.measures["attributes of a text"].estimate == 12
    assert "1 text without a word was left out" in derived.findings[0].text
    record = check(answers, tmp_path / "checked")
    assert record.title == "12 responses of answers.jsonl, checked"
    assert record.measures["all attributes met"].estimate == 0.5
    figure = next(section for section in record.sections if section.id == "worst").figures[0]
    assert isinstance(figure.data, MarkedTexts)
    assert len(figure.data.rows) == 6, "a response that meets all is none of the worst"
    shown = markup(figure)
    assert "&lt;b&gt;" in shown and "<b>Something" not in shown and "<mark>" in shown
    by_sentence = [json.loads(line) for line in answers.read_text().splitlines()]
    for row in by_sentence:
        row["attributes"] = [attribute["text"] for attribute in row["attributes"]]
    again = check(write(tmp_path / "sentences.jsonl", by_sentence), tmp_path / "again")
    assert again.measures == record.measures, "sentences are read as the attributes that they state"
    for row in by_sentence:
        del row["attributes"]
    from_prompt = check(write(tmp_path / "prompts.jsonl", by_sentence), tmp_path / "from-prompt")
    assert from_prompt.measures == record.measures, "and so are the lines of a prompt"
    few = check(answers, tmp_path / "few", "--limit", "3", "--worst", "0")
    assert few.title.startswith("3 responses") and "worst" not in [section.id for section in few.sections]


def test_in_pieces_and_killed_it_is_the_same(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check(answers, tmp_path / "whole")
    monkeypatch.setattr(module.pieces, "__defaults__", (3000,))
    worked: list[int] = []
    check_piece = checking.check_piece

    def dying(piece: Piece, **settings: object) -> object:
        if piece.index == 2 and 2 not in worked:
            worked.append(2)
            raise KeyboardInterrupt
        worked.append(piece.index)
        return check_piece(piece, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(checking, "check_piece", dying)
    assert main(["ultragen", "check", str(answers), "--out", str(tmp_path / "cut")]) == 130
    assert worked == [0, 1, 2]
    record = check(answers, tmp_path / "cut")
    assert worked[3:5] == [2, 3] and len(worked) > 5, "what was finished is not done again"
    assert record.comparable() == whole.comparable()
    monkeypatch.setattr(checking, "check_piece", check_piece)
    some = check(answers, tmp_path / "some", "--limit", "9")
    assert some.title.startswith("9 responses"), "a limit counts over pieces"


def test_tables_and_wrong_rows(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "a.csv"
    table.write_text('prompt;response;attributes\np;"Good, it is.";"Include ""good""."\np;Bad.;"Include ""good""."\n')
    record = check(table, tmp_path / "table")
    assert record.measures["CSR"].estimate == 0.5
    cases: list[tuple[object, str]] = [
        ({"prompt": "Do it."}, "has no response"),
        ({"prompt": "Do it.", "response": "x"}, "has no attributes to check"),
        ({"response": "x", "attributes": [{"kind": "rhyme", "params": {}, "text": "r"}]}, "no kind 'rhyme'"),
        ({"response": "x", "attributes": [3]}, "an object or a sentence, not 3"),
        ({"response": "x", "attributes": "[1"}, "are none"),
        ({"response": "x", "attributes": ["Sing."]}, "can be judged"),
    ]
    for number, (row, words) in enumerate(cases):
        path = write(tmp_path / f"wrong{number}.jsonl", [row])
        assert main(["ultragen", "check", str(path), "--out", str(tmp_path / "wrong")]) == 2
        assert words in capsys.readouterr().err
    for arguments, words in (
        ([str(tmp_path / "none.jsonl")], "no file of that name"),
        ([str(table), "--judge-url", "http://localhost:1"], "give --judge MODEL"),
        ([str(table), "--ray-workers", "2"], "need --engine ray"),
    ):
        assert main(["ultragen", "check", *arguments, "--out", str(tmp_path / "wrong")]) == 2
        assert words in capsys.readouterr().err


def test_rows_of_ifeval_and_ultrabench_are_read_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["punctuation:no_comma", "keywords:existence"]
    ifeval = {"key": 3, "prompt": "p", "instruction_id_list": ids, "kwargs": [{}, {"keywords": ["fog", "rail"]}]}
    hard = {"instruction_id_list": ["linguistic:no_comma"], "kwargs": [{}], "prompt": ["Use no comma."]}
    ultrabench = {"key": 4, "hard_constraints": hard, "soft_constraints": {"prompt": ["Keep it calm."]}}
    rows = [{**row, "response": text} for row in (ifeval, ultrabench) for text in ("fog, rail", "Fog and rail.")]
    record = check(write(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert "2 attributes were not judged" in record.sections[0].summary, "what only a judge can say"
    assert record.measures["met/punctuation exclude"].estimate == 0.5
    assert record.measures["all attributes met"].estimate == 0.25
    unknown = {**ifeval, "instruction_id_list": ["a:b", "c:d"], "response": "x"}
    wrong = write(tmp_path / "b.jsonl", [*rows, {**rows[1], "instruction_id_list": ["a:b", ids[1]]}, unknown])
    assert main(["ultragen", "check", str(wrong), "--out", str(tmp_path / "wrong")]) == 2
    error = capsys.readouterr().err
    assert "'a:b'" in error and "--on-unknown skip" in error
    skipped = check(wrong, tmp_path / "skipped", "--on-unknown", "skip")
    assert skipped.title.startswith("5 responses")
    summary = skipped.sections[0].summary
    assert "3 instructions of no known kind passed over; 1 response left out" in summary
    assert skipped.measures["met/punctuation exclude"].estimate == 0.5


def test_a_list_that_is_imported_is_told(tmp_path: Path) -> None:
    asked_for = ['Include "good".', "Sing of it."]
    rows = [{"prompt": "p", "response": response, "attributes": asked_for} for response in ("good", "", "x")]
    record = check(write(tmp_path / "a.jsonl", rows), tmp_path / "out")
    summary = record.sections[0].summary
    assert "2 attributes were not judged" in summary and "1 response is empty" in summary
    assert "3 sentences are of no known kind" in summary
    assert record.measures["CSR"].estimate == pytest.approx(1 / 3)


@pytest.mark.filterwarnings("ignore")  # Ray warns about its own settings
def test_two_workers_of_ray_give_the_same(
    answers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")  # started once
    request.addfinalizer(ray.shutdown)
    monkeypatch.setattr(module.pieces, "__defaults__", (3000,))
    alone, together = (check(answers, tmp_path / name, *flags) for name, flags in (
        ("local", []), ("ray", ["--engine", "ray", "--ray-workers", "2"])))  # fmt: skip
    assert together.comparable() == alone.comparable()
    wrong = write(tmp_path / "wrong.jsonl", [{"response": "x", "attributes": ['Include "x".']}, {"prompt": "p"}])
    flags = ["--engine", "ray", "--ray-workers", "2", "--out", str(tmp_path / "wrong")]
    assert main(["ultragen", "check", str(wrong), *flags]) == 2
    assert "line 2 of" in capsys.readouterr().err, "a refusal is one sentence, wherever it was made"
    texts, on_ray = tmp_path / "texts.jsonl", tmp_path / "derived-on-ray"
    arguments = ["ultragen", "derive", str(texts), "--n", "12", "--engine", "ray", "--ray-workers", "2"]
    # Two results, then the job dies; what they were is not made again.
    made = engines._made_by_ray
    asked_for: list[int] = []

    def dying(data: object, missing: list[Piece], work: object) -> Iterable[object]:
        asked_for.append(len(missing))
        for number, result in enumerate(made(data, missing, work)):  # type: ignore[arg-type]
            if len(asked_for) == 1 and number == 2:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(engines, "_made_by_ray", dying)
    monkeypatch.setattr(module.pieces, "__defaults__", (500,))
    assert main([*arguments, "--out", str(on_ray)]) == 130
    assert main([*arguments, "--out", str(on_ray)]) == 0
    assert asked_for[0] > 4 and asked_for[1] == asked_for[0] - 2
    rows = (on_ray / "attributes.jsonl").read_text()
    assert rows == (tmp_path / "derived" / "attributes.jsonl").read_text(), "the same rows in the same order"


def test_settings_out_of_range() -> None:
    from armillary.cli.ultragen.check import UltragenCheckSettings

    with pytest.raises(UsageError, match="limit"):
        UltragenCheckSettings(responses="a.jsonl", limit=0)


def test_a_judge_is_asked_once_a_piece_and_what_it_does_not_say_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[int] = []

    class Judge:
        def judge(self, questions: Sequence[tuple[str, Sequence[Attribute]]]) -> list[list[bool | None]]:
            asked_for.append(len(questions))
            return [[{"y": True, "n": False}.get(response) for _ in own] for response, own in questions]

    monkeypatch.setattr(checking, "opened_judge", lambda choice: Judge())
    rows = [
        {"prompt": "p", "response": r, "attributes": ['Include "y".', "Sing of it."]} for r in ("y", "n", "?", " ")
    ]
    record = check(write(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert asked_for == [4]
    assert record.measures["CSR soft"].estimate == pytest.approx(1 / 3), "of y, n and the empty one"
    assert record.measures["CSR"].estimate == pytest.approx(1 / 4)
    summary = record.sections[0].summary
    assert "1 answer of the judge could not be read" in summary and "not judged" not in summary


def test_soft_attributes_are_stated_for_a_piece_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = "Say that nobody waved from the rail; the bell rang on."

    class Extractor:
        def extract(self, texts: Sequence[str]) -> list[Extraction]:
            return [Extraction(attributes=[soft(f"Be about {len(text)}.", "tone")], leaked=[leak], unparsed=1)
                    for text in texts]  # fmt: skip

    monkeypatch.setattr(deriving, "opened_extractor", lambda choice: Extractor())
    texts = write(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    out = tmp_path / "derived"
    assert main(["ultragen", "derive", str(texts), "--out", str(out), "--n", "12", "--order", "soft_first"]) == 0
    rows = [json.loads(line) for line in (out / "attributes.jsonl").read_text().splitlines()]
    assert [row["attributes"][0]["text"] for row in rows] == [f"Be about {len(text)}." for text in TEXTS]
    assert all(len(row["attributes"]) == 12 for row in rows)
    assert "12 were left out since they hand over their text, and 12 replies" in RunRecord.load(out).findings[0].text
    assert main(["ultragen", "derive", str(texts), "--extractor-url", "http://localhost:1"]) == 2
