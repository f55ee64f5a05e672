"""``armillary ultragen build|train|evaluate|analyse``: what they leave, how killed runs end, what is refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armillary.cli.console import guarded
from armillary.cli.ultragen import analyse, build, derive, evaluate, train
from armillary.methods.ultragen import asking, building
from armillary.methods.ultragen.rewards import reward_fn
from armillary.records.record import RunRecord
from processes import content

WORDS = ("mill", "forge", "farm", "inn", "school", "tower", "bridge", "church", "market", "harbour")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "places.jsonl"
    rows = [f"The {word} is old. People of the {word} tell of {number} storms.\n\nIt stands." for number, word in
            enumerate(WORDS, 3)]  # fmt: skip
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return path


SMALL = ["--n", "5", "--sets", "10", "--set-size", "4", "4", "--set-soft", "0", "0", "--triplets", "40", "--json"]
PAIRED = ["--model", "tiny-llama", "--k", "6", "--margin", "0", "--max-new-tokens", "16"]


@pytest.fixture(scope="module")
def data(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished build with pairs, made in small parts."""
    out = tmp_path_factory.mktemp("built") / "data"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "SETS_AT_ONCE", 3)
        patched.setattr(building, "TEXTS_AT_ONCE", 6)
        assert guarded(build.run, [str(texts), *SMALL, *PAIRED, "--out", str(out)]) == 0
        yield out


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.jsonl")}


def killed_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    """The function of the module is interrupted at its call of that number."""
    kept, calls = getattr(module, name), []

    def interrupted(*arguments: object, **settings: object) -> object:
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return kept(*arguments, **settings)

    monkeypatch.setattr(module, name, interrupted)


def killed_and_finished(
    command: Callable[[list[str]], int], arguments: list[str], out: Path, module: object, name: str, call: int
) -> None:
    """Run the command, interrupt it, and run it again to its end."""
    with pytest.MonkeyPatch.context() as patched:
        killed_at(patched, module, name, call)
        assert guarded(command, [*arguments, "--out", str(out)]) == 130
        assert not (out / "record.json").exists()
    assert guarded(command, [*arguments, "--out", str(out)]) == 0


def test_what_is_built_holds(data: Path) -> None:
    rows, held_out = lines(data / "ar.jsonl"), lines(data / "test.jsonl")
    assert (len(rows), len(held_out)) == (8, 2)
    columns = [[row[name] for row in rows] for name in ("prompt", "completion", "attributes")]
    assert reward_fn(*columns) == [1.0] * 8
    trained = {row["completion"][0]["content"] for row in rows}
    assert trained.isdisjoint(row["response"] for row in held_out)
    assert [len(lines(data / name)) for name in ("sets.jsonl", "test_sets.jsonl")] == [8, 2]
    pool = {attribute["text"] for row in rows for attribute in json.loads(row["attributes"])}
    for row in lines(data / "sets.jsonl"):
        assert [attribute["text"] for attribute in row["attributes"]] == row["prompt"].split("\n")[1:]
        assert {attribute["text"] for attribute in row["attributes"] if attribute["kind"] != "keyword_count"} <= pool
    pairs = lines(data / "pairs.jsonl")
    assert pairs
    assert all(pair["score_chosen"] > pair["score_rejected"] for pair in pairs)
    assert RunRecord.load(data).measures["pairs"].estimate == len(pairs)


@pytest.mark.parametrize(("name", "call"), [("reconstructions", 2), ("preferences", 2)])
def test_a_killed_build_ends_alike(texts: Path, data: Path, tmp_path: Path, name: str, call: int) -> None:
    killed_and_finished(build.run, [str(texts), *SMALL, *PAIRED], tmp_path / "killed", building, name, call)
    assert files(tmp_path / "killed") == files(data)
    assert content(RunRecord.load(tmp_path / "killed")) == content(RunRecord.load(data))


def test_rows_are_built_on_in_every_form_that_is_checked(texts: Path, tmp_path: Path) -> None:
    assert guarded(derive.run, [str(texts), "--n", "5", "--json", "--out", str(tmp_path / "derived")]) == 0
    rows = lines(tmp_path / "derived" / "attributes.jsonl")
    sentences = [{**row, "attributes": row["prompt"].split("\n")[1:]} for row in rows]  # type: ignore[union-attr]
    forms = {
        "objects": rows,
        "sentences": sentences,
        "texts": [{"id": row["id"], "text": row["response"], "attributes": row["attributes"]} for row in sentences],
    }
    built = []
    for name, form in forms.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in form))
        arguments = [str(tmp_path / f"{name}.jsonl"), "--sets", "0", "--json", "--out", str(tmp_path / name)]
        assert guarded(build.run, arguments) == 0
        made = lines(tmp_path / name / "ar.jsonl")
        built.append([(row["prompt"], row["completion"]) for row in made])
        assert reward_fn(*[[row[key] for row in made] for key in ("prompt", "completion", "attributes")]) == [1.0] * 8
    assert built[0] == built[1] == built[2]
    ifeval = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "ifeval.jsonl").write_text(
        "".join(json.dumps({**ifeval, "response": f"No {n}."}) + "\n" for n in "ab")
    )
    arguments = [str(tmp_path / "ifeval.jsonl"), "--sets", "0", "--test-share", "0", "--json"]
    assert guarded(build.run, [*arguments, "--out", str(tmp_path / "ifeval")]) == 0
    assert "Do not use any of these marks" in json.dumps(lines(tmp_path / "ifeval" / "ar.jsonl")[0]["prompt"])


ASKED = ["--max-new-tokens", "6", "--json"]


def test_an_evaluation_tells_the_best_of_k_and_ends_alike(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SETS_AT_ONCE", 1)
    arguments = ["tiny-llama", str(data / "test.jsonl"), *ASKED, "--k", "2", "--outline"]
    monkeypatch.setattr("armillary.methods.ultragen.sampling.OUTLINE", "Plan.")
    assert guarded(evaluate.run, [*arguments, "--out", str(tmp_path / "whole")]) == 0
    killed_and_finished(evaluate.run, arguments, tmp_path / "killed", asking, "scored_response", 3)
    record = RunRecord.load(tmp_path / "whole")
    assert content(RunRecord.load(tmp_path / "killed")) == content(record)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert len(lines(tmp_path / "whole" / "responses.jsonl")) == 4
    measures = record.measures
    assert measures["csr"].estimate <= measures["csr/best of 2"].estimate
    assert {"csr/outline first", "csr/hard", "quality/repeated"} <= set(measures)


def test_an_analysis_tells_place_number_and_attention(data: Path, tmp_path: Path) -> None:
    arguments = ["tiny-llama", str(data / "test.jsonl"), *ASKED, "--counts", "1", "4", "--attention", "2"]
    assert guarded(analyse.run, [*arguments, "--out", str(tmp_path / "run")]) == 0
    record = RunRecord.load(tmp_path / "run")
    assert [section.id for section in record.sections] == ["position", "counts", "attention"]
    assert record.measures["attention/1"].estimate > record.measures["attention/4"].estimate


def test_what_is_wrong_is_told_in_one_sentence(
    texts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(command: Callable[[list[str]], int], *arguments: str) -> str:
        assert guarded(command, [*arguments, "--out", str(tmp_path / "refused")]) == 2
        return capsys.readouterr().err

    assert "with 500 new ones that is more than the 512 positions of tiny-llama" in refused(
        evaluate.run, "tiny-llama", str(data / "test.jsonl"), "--max-new-tokens", "500"
    )
    assert "there is no file of that name" in refused(evaluate.run, "tiny-llama", str(tmp_path / "none.jsonl"))
    assert "test_share must be 0 or more and below 1" in refused(build.run, str(texts), "--test-share", "1")
    assert "size must be (least, most) of 1 or more, got (3, 2)" in refused(
        build.run, str(texts), "--set-size", "3", "2"
    )
    assert "counts must be different numbers" in refused(
        analyse.run, "tiny-llama", str(data / "test.jsonl"), "--counts", "5", "5"
    )
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": " "}\n')
    assert "holds no text with a word" in refused(build.run, str(empty))


def test_training_leaves_a_model_and_a_killed_one_ends_alike(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", exc_type=ImportError)
    from armillary.methods.ultragen import tuning

    arguments = ["any-model", str(data), "--dry-run", "--json"]
    assert guarded(train.run, [*arguments, "--out", str(tmp_path / "whole")]) == 0
    weights = [(tmp_path / "whole" / "model" / "model.safetensors").read_bytes()]
    for name in ("prefer", "load"):
        killed_and_finished(train.run, arguments, tmp_path / name, tuning, name, 1)
        weights.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
        assert content(RunRecord.load(tmp_path / name)) == content(RunRecord.load(tmp_path / "whole"))
    assert weights[0] == weights[1] == weights[2]
    record = RunRecord.load(tmp_path / "whole")
    assert [section.id for section in record.sections] == ["reconstruction", "preferences"]
