"""``armillary ocean check`` from a user's side: what comes out, the exit code, and one sentence for what is wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.cli.console import guarded
from armillary.cli.ocean import align, check, evaluate
from armillary.graphs import KnowledgeGraph
from armillary.records.record import RunRecord

SPAIN = {"prompt": "Spain?", "steps": ["Madrid lies in Spain.", "It has 3 million <b>people</b>."]}
FRANCE = {"prompt": "France?", "text": "1. Paris lies in France.\n2. Nobody knows."}
PASSAGE = {"text": "Madrid, in Spain, has 4 million people. Paris lies in France."}


def rows(path: Path, *lines: object) -> str:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return str(path)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says of these arguments; it must be a sentence of one line."""

    def run(command: Callable[..., int], *arguments: str) -> str:
        out = tmp_path / "refused"
        assert guarded(command, [*arguments, "--out", str(out)]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("armillary: ") and error.endswith(".") and "\n" not in error, error
        assert not (out / "record.json").exists()
        return error

    return run


def test_passages_judge_and_the_page_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chains, passages = rows(tmp_path / "c.jsonl", SPAIN, FRANCE), rows(tmp_path / "p.jsonl", PASSAGE)
    arguments = [chains, "--sources", passages, "--out", str(tmp_path / "run"), "--fail-below"]
    assert guarded(check.run, [*arguments, "0.7"]) == 1
    assert "66.7% of the decided steps are supported" in capsys.readouterr().err
    measures = RunRecord.load(tmp_path / "run" / "record.json").measures
    assert [measures[name].estimate for name in ("supported", "unsupported", "unknown")] == [0.5, 0.25, 0.25]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "&lt;b&gt;" in page and "<b>people</b>" not in page
    assert guarded(check.run, [*arguments, "0.6"]) == 0  # read back


def test_a_graph_judges_and_models_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("ahocorasick")
    facts = rows(tmp_path / "g.tsv", "Spain\tcapital\tMadrid", "France\tcapital\tParis", "Italy\tcapital\tRome")
    said = {"a": ("Madrid", "Paris", "Rome"), "b": ("Madrid", "Rome", "Paris")}
    lines = [
        {"prompt": f"{country}?", "text": f"The capital of {country} is {city}.", "model": model, "answers": [right]}
        for model, cities in said.items()
        for country, city, right in zip(("Spain", "France", "Italy"), cities, said["a"], strict=True)
    ]
    chains = rows(tmp_path / "c.jsonl", *lines)
    arguments = [chains, "--kg", facts, "--out", str(tmp_path / "run"), "--fail-below", "0.7"]
    assert guarded(check.run, arguments) == 1
    measures = RunRecord.load(tmp_path / "run" / "record.json").measures
    assert measures["a/supported"].estimate == 1 and measures["b/contradicted"].estimate == pytest.approx(2 / 3)
    assert measures["a - b/supported"].estimate == pytest.approx(2 / 3) and measures["a - b/supported"].n == 3
    assert measures["b/right answer named"].estimate == pytest.approx(1 / 3)
    assert measures["supported of decided"].estimate == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"steps": ["a"]}, "has no prompt"),
        ({"prompt": "p"}, "has neither steps nor text"),
        ({"prompt": "p", "steps": []}, "has steps that are no list"),
        ({"prompt": "p", "steps": "a"}, "has steps that are no list in JSON"),
        ({"prompt": "p", "steps": [" "]}, "has no step with words in it"),
        ({"prompt": "p", "text": " ... "}, "has no step with words in it"),
        ({"prompt": "p", "steps": ["ab"], "entity_spans": [[[0, 3]]]}, "two offsets within the step's 2 characters"),
        ({"prompt": "p", "steps": ["abc"], "entity_spans": [[[0, 2], [1, 3]]]}, "(0, 2) and (1, 3) overlap"),
        ({"prompt": "p", "steps": ["ab"], "entity_spans": [[], []]}, "has 1 steps and entity_spans for 2"),
        ({"prompt": "p", "steps": [{"a": 1}]}, "has a step of type dict"),
        ("[1", "is not JSON"),
        ("7", "is of type int"),
    ],
)
def test_wrong_chains(refused: Callable[..., str], tmp_path: Path, line: object, error: str) -> None:
    chains = rows(tmp_path / "c.jsonl", SPAIN, line)
    assert error in refused(check.run, chains, "--sources", rows(tmp_path / "p.jsonl", PASSAGE))


def test_some_rows_name_a_model_and_others_do_not(refused: Callable[..., str], tmp_path: Path) -> None:
    chains = rows(tmp_path / "c.jsonl", SPAIN, {**FRANCE, "model": "a"})
    assert "names no model" in refused(check.run, chains, "--kg", "geography")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Give a graph with --kg, or --sources"),
        (["--kg", "geographie"], "there is no graph 'geographie'"),
        (["--kg", "facts.xlsx"], "has the ending .xlsx"),
        (["--kg", "missing.tsv"], "there is no file of that name"),
        (["--kg", "geography", "--encoder", "minilm"], "give --sources FILE with --encoder"),
        (["--sources", "missing.jsonl"], "missing.jsonl"),
        (["--kg", "changed"], "edge_tails.npy is damaged: its content does not match its digest"),
        (["--sources", "p.jsonl", "--aliases", "a.tsv"], "aliases and phrases belong to a graph"),
        (["--sources", "p.jsonl", "--like", "2"], "like must be a cosine"),
        (["--sources", "p.jsonl", "--fail-below", "2"], "fail_below must be a share"),
        (["--sources", "p.jsonl", "--encoder", "nowhere"], "nowhere holds no encoder"),
        (["--sources", "p.jsonl", "--limit", "0"], "limit must be 1 or more"),
    ],
)
def test_wrong_options(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "p.jsonl", PASSAGE)
    KnowledgeGraph.build([("Spain", "capital", "Madrid")], "changed")
    content = bytearray((tmp_path / "changed" / "edge_tails.npy").read_bytes())
    (tmp_path / "changed" / "edge_tails.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert error in refused(check.run, rows(tmp_path / "c.jsonl", SPAIN), *arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        (evaluate, ["--base", "tiny-llama"], "what is the graph"),
        (evaluate, ["--kg", "geography"], "--base"),
        (evaluate, ["--base", "tiny-llama", "--kg", "geography", "--clip", "0"], "clip must be above 0"),
        (evaluate, ["--base", "tiny-llama", "--kg", "geography", "--hops", "0"], "hops must be numbers of 1 or more"),
        (align, ["--kg", "geography", "--held-out", "1"], "held_out must be a share between 0 and 1"),
        (align, ["--kg", "geography", "--beta-kl", "-1"], "beta_kl must be 0 or more"),
        (align, ["--kg", "geography", "--propensity-floor", "2"], "propensity_floor must lie between 0 and 1"),
        (align, ["--kg", "geography"], "holds out prompts and needs two at least"),
        (align, ["--kg", "geography", "--max-steps", "0"], "max_steps must be 1 or more"),
        (align, ["--kg", "geography", "--quantize", "int8"], "packed weights (int8) can't be trained"),
        (align, ["--kg", "geography", "--learning-rate", "0"], "learning_rate and epochs must be above 0"),
    ],
)
def test_wrong_options_of_models(
    refused: Callable[..., str], tmp_path: Path, command: object, arguments: list[str], error: str
) -> None:
    run = getattr(command, "run")  # noqa: B009
    said = refused(run, "tiny-llama", rows(tmp_path / "c.jsonl", SPAIN), *arguments)
    assert re.search(re.escape(error), said)
