"""``armillary ocean check`` from a user's side: what comes out, the exit code, and one sentence for what is wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from armillary.cli.console import guarded
from armillary.cli.ocean import align, check, evaluate
from armillary.graphs import KnowledgeGraph
from armillary.methods.ocean.chains import read_written
from armillary.methods.ocean.offline import logged_rows
from armillary.models.tiny_models import tiny
from armillary.records.record import RunRecord
from unit.methods.ocean.ocean_toy import spelling

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
        ({"prompt": " ", "steps": ["a"]}, "has no prompt"),
        ({"prompt": ["p"], "steps": ["a"]}, "has a prompt of type list; give text"),
        ({"prompt": "p", "steps": None}, "has neither steps nor text"),
        ({"prompt": "p", "steps": []}, "has steps without anything in them; give at least one"),
        ({"prompt": "p", "steps": {"a": 1}}, "has steps of type dict; give a list"),
        ({"prompt": "p", "steps": ["a", None]}, "line 2 of"),
        ({"prompt": "p", "steps": ["a", None]}, "has null as step 2; give its text, or leave it out"),
        ({"prompt": "p", "steps": ["a"], "answers": [None]}, "has null as answer 1"),
        (
            {"prompt": "p", "steps": ["a"], "logging": "gold"},
            "logging must be one of base, lambda, unknown; got 'gold'",
        ),
        ({"prompt": "p", "steps": ["a b"], "entity_spans": [[[1, 2]]]}, "the entity span [1, 2] holds blanks only"),
        ({"prompt": "p", "steps": ["ab"], "entity_spans": [[[-1, 2]]]}, "two offsets within the step's 2 characters"),
        ({"prompt": "p", "steps": ["ab"], "entity_spans": [[[1, 1]]]}, "two offsets within the step's 2 characters"),
        ({"prompt": "p", "steps": ["ab"], "entity_spans": [None]}, "two offsets within the step's 2 characters"),
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


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "c.jsonl has no rows; give at least one with prompt and steps"),
        ("\n\n", "c.jsonl has no rows"),
        (b"\xff", "is not UTF-8"),
        (None, "there is no file of that name"),
    ],
    ids=str,
)
def test_no_chains(refused: Callable[..., str], tmp_path: Path, content: str | bytes | None, error: str) -> None:
    path = tmp_path / "c.jsonl"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert error in refused(check.run, str(path), "--kg", "geography")
    (tmp_path / "c.csv").write_text("prompt,steps\n")
    assert "c.csv has no rows" in refused(check.run, str(tmp_path / "c.csv"), "--kg", "geography")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("g.tsv", "", "a graph needs at least one triple"),
        ("g.tsv", "head\trelation\ttail\n", "a graph needs at least one triple"),
        ("g.tsv", "a\tb\n", "line 1 of {path} has 2 fields; a triple has three fields"),
        ("g.tsv", "a\t \tb\n", "line 1 of {path} has an empty field"),
        ("g.csv", 'a,"b\n', "line 1 of {path} is no CSV"),
        ("g", "a\tb\tc\n", "{path} has the ending of no kind; triples are read from .tsv"),
        ("g.json", "{{}}", "{path} has the ending .json"),
    ],
)
def test_wrong_graphs(refused: Callable[..., str], tmp_path: Path, name: str, content: str, error: str) -> None:
    (tmp_path / name).write_text(content)
    said = refused(check.run, rows(tmp_path / "c.jsonl", SPAIN), "--kg", str(tmp_path / name))
    assert error.format(path=tmp_path / name) in said


def test_a_graph_without_names(refused: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("ahocorasick")
    graph = rows(tmp_path / "g.tsv", "1\tbefore\t2")
    assert "no entity has a name that may be linked" in refused(
        check.run, rows(tmp_path / "c.jsonl", SPAIN), "--kg", graph
    )


def test_some_rows_name_a_model_and_others_do_not(refused: Callable[..., str], tmp_path: Path) -> None:
    chains = rows(tmp_path / "c.jsonl", SPAIN, {**FRANCE, "model": "a"})
    assert "names no model" in refused(check.run, chains, "--kg", "geography")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Give a graph with --kg, or --sources"),
        (["--kg", "geographie"], "there is no graph 'geographie'"),
        (["--kg", ""], "kg is empty; give a name or path, or leave it out"),
        (["--sources", "p.jsonl", "--encoder", " "], "encoder is empty"),
        (["--kg", "geography", "--aliases", ""], "aliases is empty"),
        (["--kg", "."], ". holds no graph: graph.json is missing"),
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
        (evaluate, ["--base", "tiny-llama", "--kg", ""], "kg is empty"),
        (evaluate, ["--base", "tiny-llama", "--kg-policy", ""], "kg_policy is empty"),
        (evaluate, ["--base", "", "--kg-policy", "tiny-llama"], "no model is named ''"),
        (evaluate, ["--base", "tiny-llama", "--kg-policy", "nowhere"], "no model is named 'nowhere'"),
        (
            evaluate,
            ["--base", "tiny-llama", "--kg", "geography", "--logged-by", "gold"],
            "'base', 'lambda', 'unknown'",
        ),
        (
            evaluate,
            ["--base", "tiny-llama", "--kg", "geography", "--policy-steps", "0"],
            "policy_steps must be 1 or more",
        ),
        (evaluate, ["--base", "tiny-llama", "--kg", "geography", "--clip", "0"], "clip must be above 0"),
        (evaluate, ["--base", "tiny-llama", "--kg", "geography", "--clip", "inf"], "clip must be above 0 and finite"),
        (align, ["--kg", "geography", "--weight-clip", "inf"], "weight_clip above 1, and both finite"),
        (align, ["--kg", "geography", "--epochs", "inf"], "learning_rate and epochs must be above 0 and finite"),
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
    refused: Callable[..., str], tmp_path: Path, command: ModuleType, arguments: list[str], error: str
) -> None:
    said = refused(command.run, "tiny-llama", rows(tmp_path / "c.jsonl", SPAIN), *arguments)
    assert re.search(re.escape(error), said)


MADRID = {"prompt": "Spain?", "steps": ["Madrid is in Spain."], "entity_spans": [[[0, 6], [13, 18]]]}
LIMA = {"prompt": "Peru?", "steps": ["Lima is in Peru."], "entity_spans": [[[0, 4], [11, 15]]]}
BY_TINY = ["--kg-policy", "tiny-llama"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy that gives " Spain" so little that a ratio to it is no number."""
    made, folder = tiny("gpt_neox", layers=1), tmp_path_factory.mktemp("narrow")
    with torch.no_grad():
        final, head = made.model.gpt_neox.final_layer_norm, made.model.get_output_embeddings()
        final.weight.zero_()
        final.bias.fill_(1.0)  # so that the last state is the same at each place
        head.weight.zero_()
        head.weight[made.tokenizer.encode(" Spain", add_special_tokens=False), 0] = -1e4
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("command", [evaluate, align])
@pytest.mark.parametrize(
    ("lines", "arguments", "error"),
    [
        ([FRANCE, MADRID], BY_TINY, "line 1 of {path} has no entity_spans; give them, or a graph (--kg)"),
        ([{**MADRID, "entity_spans": [[]]}, {**LIMA, "entity_spans": [[]]}], BY_TINY, "no chain names an entity"),
        ([{**MADRID, "entity_spans": [[[1, 5]]]}, LIMA], BY_TINY, "1 of 3 entity spans end inside a token"),
        ([MADRID, LIMA], [*BY_TINY, "--max-length", "3"], "no chain has at most 3 tokens"),
        ([MADRID, LIMA], ["--kg", "{kg}", "--hops", "5", "--paths", "4"], "0 of 4 paths of 5 hops were met"),
    ],
)
def test_chains_that_models_refuse(
    refused: Callable[..., str],
    tmp_path: Path,
    command: ModuleType,
    lines: list[dict[str, object]],
    arguments: list[str],
    error: str,
) -> None:
    base = ["--base", "tiny-llama"] if command is evaluate else ["--lora-rank", "0"]
    chains, graph = rows(tmp_path / "c.jsonl", *lines), rows(tmp_path / "g.tsv", "Spain\tcapital\tMadrid")
    given = [argument.format(kg=graph) for argument in arguments]
    assert error.format(path=chains) in refused(command.run, "tiny-llama", chains, *base, *given)


def test_missing_support_is_refused_and_lifted_by_a_floor(
    refused: Callable[..., str], narrow: str, tmp_path: Path
) -> None:
    chains = rows(tmp_path / "c.jsonl", MADRID, LIMA)
    policy = ["tiny-llama", chains, "--kg-policy", narrow]
    said = refused(evaluate.run, *policy, "--base", "tiny-llama")
    assert "is beyond what a number can hold; give clip, or a propensity_floor" in said
    said = refused(align.run, *policy, "--lora-rank", "0", "--max-steps", "1")
    assert "has a token without probability, or next to none, under the base or the graph's policy" in said
    out = tmp_path / "lifted"
    floor = ["--propensity-floor", "1e-3", "--base", "tiny-llama", "--out", str(out)]
    assert guarded(evaluate.run, [*policy, *floor]) == 0
    assert RunRecord.load(out / "record.json").measures["doubly robust"].n == 2


def test_a_policy_that_spells(refused: Callable[..., str], tmp_path: Path) -> None:
    made, chains = spelling(), rows(tmp_path / "c.jsonl", MADRID, LIMA)
    made.model.save_pretrained(tmp_path / "other")
    made.tokenizer.save_pretrained(tmp_path / "other")
    for run, more in ((evaluate.run, ["--base", "tiny-llama"]), (align.run, ["--lora-rank", "0"])):
        said = refused(run, "tiny-llama", chains, "--kg-policy", str(tmp_path / "other"), *more)
        assert "the graph's policy has another vocabulary than tiny-llama; give one of the same" in said


def test_a_row_says_who_wrote_it(tmp_path: Path) -> None:
    """Before what is said of all rows."""
    chains = read_written(rows(tmp_path / "c.jsonl", {**MADRID, "logging": "lambda"}, {**LIMA, "logging": None}))
    made = logged_rows(chains, tiny("llama", layers=1), None, logged_by="unknown")
    assert [row["logging"] for row in made] == ["lambda", "unknown"]
