"""``armillary bricks``: each action the whole way with tiny models, delivered, replayed, resumed, refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.cli.main import main
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.brick_library import BrickLibrary
from armillary.methods.bricks.library.folder import read_brick
from armillary.methods.bricks.library.peft import brick_from_adapter, read_adapter, write_adapter
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import LowRank, Partition
from armillary.models import load
from armillary.models.feed_forward import feed_forward
from armillary.records.record import RunRecord
from processes import content

Capture = pytest.CaptureFixture[str]
FEW = ["--capabilities", "code", "technical-english"]
"""Capabilities whose texts are installed: others are downloaded."""

FACT = ["--prompt", "The capital of France is", "--subject", "France", "--answer", "Paris", "--new", "Rome"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def bricks(*arguments: str | Path) -> int:
    return main(["bricks", *map(str, arguments)])


def adapter(folder: Path, *, seed: int, kind: str = "llama", rank: int = 2) -> Path:
    """A random adapter of a tiny model, as a PEFT folder."""
    loaded = load(f"tiny-{kind}")
    generator = torch.Generator().manual_seed(seed)
    factors = {
        feed_forward(loaded, layer).write_path: (
            torch.randn(rank, loaded.anatomy.intermediate_size, generator=generator),
            torch.randn(loaded.anatomy.hidden_size, rank, generator=generator),
        )
        for layer in range(loaded.anatomy.num_layers)
    }
    return write_adapter(Brick.of(loaded, LowRank(factors), name=folder.name), folder)


def model_folder(folder: Path, *, shift: float) -> Path:
    """The tiny Llama with every number moved by ``shift``, as transformers saves it."""
    loaded = load("tiny-llama")
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(shift)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "measure"),
    [
        (["profile"], ""),
        (
            ["partition", "--by", "coactivation", *FEW],
            "functional experts above",
        ),
        (["route", "--by", "random"], "rise of the loss/1 of 4 experts"),
        (["route", "--share", "0.9", "--router", "mlp"], "router recall/"),
        (["sparsify", "--share", "0.4"], "rise of the loss/code"),
        (["merge", "one", "two", "--method", "dare", "--seed", "3"], ""),
        (["edit", *FACT], "efficacy"),
        (
            ["grow", "--to", "unused", "--layers", "1", "--train-on", "technical-english"],
            "change of the loss after training/technical-english",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_dry_and_replayed(options: list[str], measure: str, out: Path, tmp_path: Path, capsys: Capture) -> None:
    options = [str(tmp_path / "grown") if word == "unused" else word for word in options]
    assert bricks(options[0], "any", *options[1:], "--dry-run", "--out", out, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "bricks" and record["sections"] and record["findings"]
    assert record["config"]["command"] == f"bricks {options[0]}" and record["models"]["model"]["name"] == "tiny-llama"
    assert any(name.startswith(measure) for name in record["measures"]) or not measure
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0, capsys.readouterr().out


def test_partition_goes_into_a_library_again_without_the_work(out: Path, tmp_path: Path, monkeypatch: Any) -> None:
    command = [
        "partition",
        "tiny-llama",
        "--experts",
        "6",
        "--by",
        "random",
        *FEW,
    ]
    assert bricks(*command, "--out", out) == 0
    kept = read_brick(out / "brick")
    assert isinstance(kept.payload, Partition) and kept.payload.experts == 6
    assert kept.meta.provenance.base == "tiny-llama"
    monkeypatch.setattr("armillary.cli.bricks.partition.split_of", None)
    library = tmp_path / "library"
    for _ in range(2):
        assert bricks(*command, "--out", out, "--library", library) == 0, "a finished run is only delivered"
        assert [entry.id for entry in BrickLibrary(library).entries()] == [kept.id]


def test_a_killed_run_goes_on_where_it_was(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.methods.bricks.experts import modularity, partitioning

    made: list[int] = []
    original, judged = partitioning.random_partition, modularity.functional_experts

    def counted(*arguments: Any, **settings: Any) -> Partition:
        made.append(1)
        return original(*arguments, **settings)

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(partitioning, "random_partition", counted)
    monkeypatch.setattr(modularity, "functional_experts", stopped)
    command = ["partition", "any", "--by", "random", *FEW, "--dry-run"]
    library = tmp_path / "library"
    assert bricks(*command, "--out", out, "--library", library) == 130
    assert not (out / "record.json").exists() and not (out / "brick").exists() and not library.exists()
    monkeypatch.setattr(modularity, "functional_experts", judged)
    assert bricks(*command, "--out", out) == 0
    assert made == [1], "the split was kept"
    assert bricks(*command, "--out", tmp_path / "whole") == 0
    assert content(RunRecord.load(out)) == content(RunRecord.load(tmp_path / "whole"))


def test_route_all_experts_costs_nothing_and_fewer_read_less(out: Path, tmp_path: Path) -> None:
    for k in ("4", "1"):
        command = ["route", "any", "--k", k, "--by", "weights", "--dry-run", "--out", out / k]
        assert bricks(*command, *(["--mixtral", tmp_path / "mixtral"] if k == "1" else [])) == 0
    dense, few = RunRecord.load(out / "4"), RunRecord.load(out / "1")
    assert abs(dense.measures["rise of the loss/4 of 4 experts"].estimate) < 1e-5
    assert abs(few.measures["rise of the loss/1 of 4 experts"].estimate) > 1e-3
    limits = [record.sections[0].tables[1].rows[0][-1] for record in (dense, few)]
    assert isinstance(limits[0], float) and isinstance(limits[1], float) and limits[0] < 1 < limits[1]
    opened = load(tmp_path / "mixtral")
    assert opened.model.config.model_type == "mixtral" and opened.model.config.num_experts_per_tok == 1


def test_merge_of_adapters_is_the_exact_sum(out: Path, tmp_path: Path) -> None:
    first, second = (adapter(tmp_path / name, seed=seed, rank=1 + seed) for seed, name in enumerate("ab"))
    library = tmp_path / "library"
    kept = BrickLibrary(library).add(brick_from_adapter(second, load("tiny-llama")))
    command = ["merge", "tiny-llama", first, kept[:8], "--method", "task_arithmetic", "--weights", "2", "-1"]
    assert bricks(*command, "--library", library, "--to", tmp_path / "sum", "--out", out) == 0
    parts, merged = [read_adapter(folder) for folder in (first, second)], read_adapter(tmp_path / "sum")
    for path in merged.factors:
        wanted = 2 * parts[0].delta(path).double() - parts[1].delta(path).double()
        assert torch.allclose(merged.delta(path).double(), wanted, atol=1e-5)
    assert len(BrickLibrary(library).entries()) == 2
    assert "rank 3" in RunRecord.load(out).findings[0].text
    assert bricks("merge", "tiny-llama", out, "--rank", "1", "--out", tmp_path / "cut") == 0, "a run's own brick"
    assert isinstance(read_brick(tmp_path / "cut" / "brick").payload, LowRank)
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0
    assert len(BrickLibrary(library).entries()) == 2, "a replay puts nothing into a library"


def test_adapters_of_another_base_merge_only_if_asked_for(tmp_path: Path, capsys: Capture) -> None:
    """What an adapter's folder says of its base stands in the record, or is refused; so is a rank that undoes DARE."""
    base = model_folder(tmp_path / "base", shift=0.0)
    for name, stated in (("x", str(base)), ("y", "somebody/other")):
        config = json.loads((adapter(tmp_path / name, seed=1) / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = stated
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
    both = ["merge", base, tmp_path / "x", tmp_path / "y"]
    assert bricks(*both, "--out", tmp_path / "1") == 2 and "somebody/other" in capsys.readouterr().err
    assert bricks(*both, "--allow-different-base", "--to", tmp_path / "both", "--out", tmp_path / "2") == 0
    assert bricks("merge", base, tmp_path / "y", "--out", tmp_path / "3") == 0
    for number in "23":
        rows = RunRecord.load(tmp_path / number).sections[0].tables[1].rows
        assert ["base that y states", "somebody/other: base not verifiable"] in rows
    written = json.loads((tmp_path / "both" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(base.resolve())
    assert bricks(*both[:3], "--method", "dare", "--rank", "2", "--out", tmp_path / "4") == 2
    assert "a rank of 2 holds what dare gives only" in capsys.readouterr().err
    assert bricks(*both[:3], "--method", "dare", "--rank", "500", "--out", tmp_path / "5") == 0
    assert "they need no more of the 500 allowed" in RunRecord.load(tmp_path / "5").findings[0].text


def test_merge_of_models(out: Path, tmp_path: Path) -> None:
    base, first, second = (
        model_folder(tmp_path / name, shift=s) for name, s in (("base", 0.0), ("m1", 0.5), ("m2", 1.5))
    )
    assert bricks("merge", base, first, second, "--to", tmp_path / "merged", "--out", out) == 0
    merged, start = (load(folder).model.state_dict() for folder in (tmp_path / "merged", base))
    assert all(torch.allclose(merged[name], start[name] + 1.0, atol=1e-5) for name in start)
    assert {path.name for path in out.iterdir()} == {".lock", "record.json", "report.html"}
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0
    mixed = adapter(tmp_path / "adapter", seed=0)
    assert bricks("merge", base, first, mixed, "--to", tmp_path / "no", "--out", tmp_path / "x") == 2


def test_recipe_names_adapters_on_their_base(tmp_path: Path, capsys: Capture) -> None:
    folders = [adapter(tmp_path / name, seed=0) for name in "ab"]
    command = ["merge", "owner/base", *folders, "--method", "dare", "--density", "0.25", "--recipe"]
    assert bricks(*command) == 0
    recipe = capsys.readouterr().out
    assert "merge_method: dare_linear" in recipe and recipe.count("density: 0.25") == 2
    assert f'model: "owner/base+{folders[1]}"' in recipe
    assert bricks(*command, "--to", tmp_path / "recipe.yaml") == 0
    assert (tmp_path / "recipe.yaml").read_text() == recipe
    assert bricks(*command, "--to", tmp_path / "recipe.yaml") == 2


def test_an_edit_stands_beside_the_forecast_of_its_spill_over(out: Path) -> None:
    """Asked in the words of a relation, the fact's edit is compared with what LinCorr's map foretells."""
    fact = ["--prompt", "Amanda lives in the city of", "--subject", "Amanda", "--answer", "London", "--new", "Paris"]
    assert bricks("edit", "any", *fact, "--identity", "--layer", "0", "--dry-run", "--out", out) == 0
    record = RunRecord.load(out)
    (section,) = [section for section in record.sections if section.id == "forecast"]
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["city-country"][1] == "Amanda lives in the country of"
    for id, row in rows.items():
        null = record.measures[f"forecast/{id}, permuted"]
        assert record.measures[f"forecast/{id}"].estimate == row[5] and -1 <= row[5] <= 1
        assert record.measures[f"forecast/{id}, same words"].estimate == row[8] and -1 <= row[8] <= 1
        assert null.low is not None and null.high is not None and null.low < null.high


def test_edit_leaves_an_adapter_that_makes_the_new_answer_likelier(out: Path, tmp_path: Path) -> None:
    from armillary.methods.bricks.editing.facts import Fact
    from armillary.methods.bricks.editing.metrics import read_fact

    options = ["--identity", "--layer", "0", "--neighbours", "Spain=Madrid", "--paraphrases", "In France it is"]
    assert bricks("edit", "any", *FACT, *options, "--dry-run", "--to", tmp_path / "edit", "--out", out) == 0
    loaded, fact = load("tiny-llama"), Fact.from_prompt(FACT[1], "France", "Paris", "Rome")
    before = read_fact(loaded, fact).new[0]
    with applied(loaded, read_adapter(tmp_path / "edit")):
        after = read_fact(loaded, fact).new[0]
    assert [section.id for section in RunRecord.load(out).sections] == ["edit"], "no relation asks for capitals so"
    answers, neighbours = RunRecord.load(out).sections[0].tables[:2]
    assert answers.rows[0][2] == before and answers.rows[0][4] == pytest.approx(after, abs=1e-4) and after > before
    assert answers.rows[1][0] == "In France it is" and [row[0] for row in neighbours.rows] == ["Spain"]


def facts_file(path: Path, *, new: str = "Rome") -> Path:
    """Two capitals, one of them with a neighbour and a paraphrase of its own."""
    path.write_text(
        f"""
[[fact]]
prompt = "The capital of France is"
subject = "France"
answer = "Paris"
new = "{new}"
paraphrases = ["In France it is"]
neighbours = ["Spain=Madrid"]

[[fact]]
prompt = "The capital of Japan is"
subject = "Japan"
answer = "Tokyo"
new = "Oslo"
"""
    )
    return path


def test_several_facts_are_edited_by_one_brick(out: Path, tmp_path: Path) -> None:
    from armillary.methods.bricks.editing.facts import Fact
    from armillary.methods.bricks.editing.metrics import read_fact

    facts = facts_file(tmp_path / "facts.toml")
    options = ["--facts", facts, "--layers", "0", "--weight", "0.1", "--library", tmp_path / "library"]
    assert bricks("edit", "any", *options, "--dry-run", "--to", tmp_path / "edit", "--out", out) == 0
    loaded, change = load("tiny-llama"), read_adapter(tmp_path / "edit")
    assert {len(a_RI) for a_RI, _ in change.factors.values()} == {2}, "one direction a fact"
    pairs = [Fact.from_prompt("The capital of France is", "France", "Paris", "Rome"),
             Fact.from_prompt("The capital of Japan is", "Japan", "Tokyo", "Oslo")]  # fmt: skip
    before = [read_fact(loaded, fact).new[0] for fact in pairs]
    with applied(loaded, change):
        after = [read_fact(loaded, fact).new[0] for fact in pairs]
    assert after[0] > before[0] and after[1] > before[1]
    record = RunRecord.load(out)
    assert [row[0] for row in record.sections[0].tables[0].rows] == ["France", "Japan"]
    assert record.measures["efficacy"].n == 2 and record.config["files"]["facts"]
    (kept,) = BrickLibrary(tmp_path / "library").entries()
    assert kept.name == "2 facts"
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0


def test_the_layer_of_several_facts_is_chosen_on_others(out: Path, tmp_path: Path) -> None:
    facts = facts_file(tmp_path / "facts.toml")
    options = ["--facts", facts, "--protected", "0.5"]
    assert bricks("edit", "any", *options, "--dry-run", "--out", out) == 0
    payload = read_brick(out / "brick").payload
    assert isinstance(payload, LowRank) and len(payload.factors) == 1
    facts_file(facts, new="Bern")
    assert bricks("edit", "any", *options, "--dry-run", "--out", out) == 0
    rows = RunRecord.load(out).sections[0].tables[0].rows
    assert rows[0][2] == "Bern", "another content of the file is another run"


@pytest.mark.parametrize(("way", "kind"), [("--neurons", "llama"), ("--layers", "llama"), ("--experts", "mixtral")])
def test_grown_folder_says_the_same(way: str, kind: str, out: Path, tmp_path: Path) -> None:
    assert bricks("grow", "any", way, "2", "--dry-run", "--to", tmp_path / "grown", "--out", out) == 0
    base, grown = load("tiny-llama"), load(tmp_path / "grown")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.allclose(base.model(ids).logits, grown.model(ids).logits, atol=1e-4)
    assert grown.model.config.model_type == kind
    assert sum(p.numel() for p in grown.model.parameters()) > sum(p.numel() for p in base.model.parameters())
    assert {path.name for path in out.iterdir()} == {".lock", "record.json", "report.html"}


def test_a_library_from_add_to_remove(tmp_path: Path, capsys: Capture) -> None:
    library, first = tmp_path / "library", adapter(tmp_path / "first", seed=1)
    (tmp_path / "texts").write_text("red green blue\nred blue\n")
    add = ["add", first, "--model", "tiny-llama", "--keys-from", tmp_path / "texts", "--name", "colours", "--json"]
    assert bricks("library", library, *add) == 0
    kept = json.loads(capsys.readouterr().out)["id"]
    assert bricks("library", library, "add", adapter(tmp_path / "second", seed=2), "--model", "tiny-llama") == 0
    assert "no keys" in capsys.readouterr().out
    assert bricks("library", library, "list") == 0
    assert kept[:12] in (listing := capsys.readouterr().out) and "colours" in listing and "second" in listing
    assert bricks("library", library, "show", kept[:6]) == 0
    assert "mean state after layer 1 of tiny-llama" in capsys.readouterr().out
    assert bricks("library", library, "search", "red green blue", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["brick"] for row in answer["chosen"]] == [kept] and answer["chosen"][0]["score"] > 0.5
    assert bricks("library", library, "search", "seven", "--threshold", "0.999") == 0
    assert "No brick comes near enough" in capsys.readouterr().out
    assert bricks("library", library, "search", "red green blue", "--arrow", "--json") == 0
    arrow = json.loads(capsys.readouterr().out)
    assert set(arrow["names"].values()) == {"colours", "second"}, "Arrow needs no keys"
    assert bricks("library", library, "export", kept[:6], "--to", tmp_path / "out") == 0
    path = next(iter(read_adapter(first).factors))
    assert torch.allclose(read_adapter(tmp_path / "out").delta(path), read_adapter(first).delta(path), atol=1e-6)
    (library / "library.json").unlink()
    assert bricks("library", library, "rebuild") == 0 and bricks("library", library, "remove", kept) == 0
    assert [entry.name for entry in BrickLibrary(library).entries()] == ["second"]


def test_own_texts_of_a_profile(out: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "red").write_text("".join(f"red {'blue ' * (1 + n % 5)}{n}\n" for n in range(40)))
    command = ["profile", "tiny-llama", "--text-file", f"mine={tmp_path / 'red'}", "--texts", "20", "--out", out]
    assert bricks(*command) == 2
    assert "at least two capabilities" in capsys.readouterr().err and not out.exists()
    assert bricks(*command, "--capabilities", "code") == 0
    assert "mine" in json.dumps(RunRecord.load(out).to_dict()["sections"])
    (tmp_path / "red").write_text("red\n" * 39)
    assert bricks(*command, "--capabilities", "code") == 2
    assert "39 texts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["partition", "--experts", "0"], "experts must be 1 or more"),
        (["partition", "--experts", "99", *FEW], "experts must be 1 to 48"),
        (["partition", "--capabilities", "code", "cooking"], "no capability is called 'cooking'"),
        (["partition", "--capabilities", "code"], "at least two"),
        (["partition", "--texts", "5"], "texts must be 20 or more"),
        (["partition", "--by", "taste"], "taste"),
        (["route", "--k", "2", "--share", "0.5"], "either k or share"),
        (["route", "--k", "33"], "k must be 1 to 32"),
        (["route", "--share", "1.5"], "share must lie above 0"),
        (["route", "--share", "0.5", "--router", "centroid"], "can't tell a share"),
        (["route", "--k", "2", "--router", "mlp", "--mixtral", "new"], "linear router"),
        (["route", "--experts", "5", "--k", "2", "--mixtral", "new", *FEW], "do not divide"),
        (["merge"], "one or more folders"),
        (["merge", "nowhere"], "there is no folder 'nowhere'"),
        (["merge", "abcd", "--library", "nowhere"], "there is no library at nowhere"),
        (["merge", "."], "it is no adapter and no model"),
        (["merge", "x", "--method", "best"], "best"),
        (["edit", *FACT], "does not answer"),
        (["edit", *FACT[:3], "Spain", *FACT[4:]], "must stand exactly once"),
        (["edit", *FACT, "--neighbours", "Spain"], "SUBJECT=ANSWER"),
        (["edit", *FACT, "--layer", "9", "--dry-run"], "layer must be 0 to 1"),
        (["edit", *FACT[:6]], "give --new, or several facts"),
        (["edit", *FACT, "--facts", "any.toml"], "either one fact or --facts"),
        (["edit", *FACT, "--layers", "0", "1"], "for several facts"),
        (["edit", "--facts", "nowhere.toml"], "nowhere.toml"),
        (["edit", "--facts", "any.toml", "--identity"], "leave --identity out"),
        (["edit", "--facts", "any.toml", "--layer", "0", "--layers", "1"], "either layer or layers"),
        (["merge", "x", "--recipe", "--dry-run"], "leave --dry-run out"),
        (["grow", "--to", "new"], "one of neurons, layers and experts"),
        (["grow", "--to", "new", "--neurons", "2", "--layers", "1"], "one of neurons, layers and experts"),
        (["grow", "--to", "new", "--layers", "9"], "number of new layers"),
        (["grow", "--to", "new", "--experts", "2", "--top-k", "3"], "top_k must be 1 to 2"),
        (["grow", "--to", "new", "--neurons", "2", "--train-on", "cooking"], "no capability is called 'cooking'"),
        (["grow", "--to", ".", "--neurons", "2"], "exists already"),
        (["grow", "--neurons", "2"], "--to"),
        (["profile", "--texts", "3"], "texts must be 20 or more"),
        (["profile", "--text-file", "nothing"], "NAME=FILE"),
        (["profile", "--text-file", "a=nowhere.txt"], "could not be read"),
    ],
)
def test_refuses_in_one_sentence(
    options: list[str], sentence: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert bricks(options[0], "tiny-llama", *options[1:], "--out", out) == 2
    printed = capsys.readouterr().err
    assert sentence in printed and "unforeseen" not in printed and len(printed.strip().splitlines()) == 1
    assert not out.exists() and not any((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["list"], "there is no library"),
        (["show"], "needs the id of a brick"),
        (["add", "nowhere", "--model", "tiny-llama"], "there is no folder 'nowhere'"),
        (["add", "nowhere"], "needs --model"),
        (["rebuild", "more"], "takes nothing more"),
        (["bake"], "bake"),
    ],
)
def test_library_refuses(options: list[str], sentence: str, tmp_path: Path, capsys: Capture) -> None:
    assert bricks("library", tmp_path / "none", *options) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_library_refuses_what_it_does_not_hold(tmp_path: Path, capsys: Capture) -> None:
    BrickLibrary(tmp_path / "library").add(brick_from_adapter(adapter(tmp_path / "a", seed=0), load("tiny-llama")))
    for options, sentence in (
        (["show", "abcdef"], "no brick whose id begins with abcdef"),
        (["show", "zz"], "4 to 64 hex digits"),
        (["search", "red"], "no brick of"),
        (["export", "abcdef"], "needs --to"),
        (["add", tmp_path / "a", "--model", "tiny-qwen3", "--keys-from", "cooking"], "no capability is called"),
    ):
        assert bricks("library", tmp_path / "library", *options) == 2
        assert sentence in capsys.readouterr().err


def test_adapters_of_another_base_are_refused(out: Path, tmp_path: Path, capsys: Capture) -> None:
    library = BrickLibrary(tmp_path / "library")
    other = library.add(brick_from_adapter(adapter(tmp_path / "q", seed=0, kind="qwen3"), load("tiny-qwen3")))
    assert bricks("merge", "tiny-llama", other[:8], "--library", library.path, "--out", out) == 2
    printed = capsys.readouterr().err
    assert "was made for the base" in printed and not out.exists() and len(library.entries()) == 1


def test_what_exists_is_refused_before_any_work(tmp_path: Path, out: Path, capsys: Capture, monkeypatch: Any) -> None:
    monkeypatch.setattr("armillary.models.loading", None)
    (tmp_path / "there").mkdir()
    for options in (["edit", "any", *FACT, "--to"], ["route", "any", "--k", "1", "--mixtral"]):
        assert bricks(*options, tmp_path / "there", "--out", out, "--dry-run", "--fresh") == 2
        assert "exists already" in capsys.readouterr().err and not out.exists()
    assert bricks("edit", "any", *FACT, "--to", out, "--out", out, "--dry-run") == 2
    assert "is the folder of the run" in capsys.readouterr().err and not out.exists()
