"""``armillary modeldiff``: the whole way with tiny models, resumed, replayed, rated, and refused in one sentence."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.cli.main import main
from armillary.methods.modeldiff.result import Comparison
from armillary.methods.modeldiff.tempering import parallel_tempering
from armillary.records.record import RunRecord
from armillary.records.sections import Tokens
from copies import with_tokens_exchanged
from processes import content

Capture = pytest.CaptureFixture[str]
PAIR = ["modeldiff", "tiny-llama", "tiny-qwen3", "--length", "6"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.parametrize(
    "options",
    [
        ["--samples", "200", "--weighting", "profile"],
        ["--samples", "100", "--window", "20", "60", "30", "70", "--temperatures", "1.0", "1.2", "--ban-eos"],
        ["--samples", "100", "--prefix", "red green"],
        ["--samples", "80", "--mode", "text"],
    ],
)
def test_dry_and_replayed(options: list[str], out: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["modeldiff", "any", "other", *options, "--dry-run", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "modeldiff" and record["findings"] and record["measures"]
    assert set(record["models"]) == {"a", "b"}
    samples = "texts.json" if "text" in options else "samples.npz"
    assert {path.name for path in out.iterdir()} - {".lock"} == {"record.json", "report.html", samples}
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0, capsys.readouterr().out


def test_samples_are_those_of_the_settings(out: Path, capsys: Capture) -> None:
    assert main([*PAIR, "--samples", "60", "--window", "20", "60", "--out", str(out)]) == 0
    held = Comparison.load(out / "samples.npz")
    assert held.a.ids_NL.shape == held.b.ids_NL.shape == (60, 6)
    assert held.a.window == held.b.window == (20.0, 60.0) and held.config.weighting == "count"
    told = capsys.readouterr().out
    assert "not enough samples" in told and f"Report: {out / 'report.html'}" in told


def test_a_killed_run_goes_on_where_it_was(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.methods.modeldiff.source import ModelSource

    drawn: list[int] = []
    original = ModelSource.sample

    def sample(self: ModelSource, n: int, *, seed: int) -> Any:
        if len(drawn) == stop:
            raise KeyboardInterrupt
        drawn.append(n)
        return original(self, n, seed=seed)

    monkeypatch.setattr(ModelSource, "sample", sample)
    command = [*PAIR, "--samples", "300", "--weighting", "profile"]
    stop = 4
    assert main([*command, "--out", str(out)]) == 130
    assert drawn == [256, 256, 256, 44] and not (out / "record.json").exists()
    stop = -1
    assert main([*command, "--out", str(out)]) == 0
    assert drawn[4:] == [256, 44], "the pilots and A's samples were kept"
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    resumed, whole = (RunRecord.load(folder) for folder in (out, tmp_path / "whole"))
    assert content(resumed) == content(whole)
    drawn.clear()
    assert main([*command, "--out", str(out)]) == 0
    assert drawn == [], "a finished run is returned as it stands"


def test_a_sheet_goes_out_and_its_ratings_come_back(
    out: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armillary.methods.modeldiff.source import ModelSource

    sheet, command = tmp_path / "sheet.csv", [*PAIR, "--samples", "300", "--out", str(out)]
    assert main([*command, "--sheet", str(sheet)]) == 0
    assert "fill the column rating" in capsys.readouterr().err
    with open(sheet, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert main([*command, "--ratings", str(sheet)]) == 2
    assert "holds no ratings" in capsys.readouterr().err
    for row in rows:
        row["rating"] = "1" if row["direction"] == "a" else "0"
    with open(sheet, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    def nothing_is_drawn(*_: object, **__: object) -> None:
        raise AssertionError("the samples of the finished run serve")

    monkeypatch.setattr(ModelSource, "sample", nothing_is_drawn)
    before = Comparison.load(out / "samples.npz").a.ids_NL
    assert main([*command, "--ratings", str(sheet)]) == 0
    record = RunRecord.load(out)
    section = next(section for section in record.sections if section.id == "people")
    assert "A agrees better" in section.summary and "120 ratings" in section.summary
    assert (Comparison.load(out / "samples.npz").a.ids_NL == before).all()
    sheet.write_text("id,rating\na1,0.5\nzz9,1\n")
    assert main([*command, "--ratings", str(sheet)]) == 2
    assert "is not one of the" in capsys.readouterr().err


def test_human_texts_choose_the_window(out: Path, tmp_path: Path, capsys: Capture) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"red green blue {number} yellow black white" for number in range(30)), "utf-8")
    command = [*PAIR, "--samples", "60", "--reference", str(texts)]
    code = main([*command, "--out", str(out)])
    if code == 0:
        held = Comparison.load(out / "samples.npz")
        assert held.a.window != held.b.window and held.a.window[0] > 0
    else:
        assert "fell in its window" in capsys.readouterr().err
    texts.write_text("red\n", "utf-8")
    assert main([*command, "--out", str(out)]) == 2
    assert "needs 20 texts" in capsys.readouterr().err


def test_parallel_tempering_in_place_of_own_draws(out: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    # Short sequences, two rungs and short runs: what a ladder costs grows with all three.
    monkeypatch.setattr(
        "armillary.methods.modeldiff.tempered_source.parallel_tempering",
        lambda model, **settings: parallel_tempering(model, **{**settings, "sweeps": 100, "burn_in": 50}),
    )
    options = ["--proposal", "tempered", "--temperatures", "1.0", "1.5", "--weighting", "profile"]
    command = ["modeldiff", "tiny-llama", "tiny-qwen3", "--length", "2", "--pilot", "60", "--samples", "200", *options]
    assert main([*command, "--out", str(out)]) == 0, capsys.readouterr().err
    held = Comparison.load(out / "samples.npz")
    assert held.config.proposal == "tempered" and held.a.log_q_KN is not None and len(held.a.log_q_KN) == 2
    assert len(np.unique(held.a.unit_N)) == 64, "each ladder is resampled as one"
    texts = next(section for section in RunRecord.load(out).sections if section.id == "texts")
    data = texts.figures[0].data
    assert isinstance(data, Tokens) and all(None not in row.values for row in data.rows)


def test_a_model_against_itself_is_told_and_allowed(out: Path, capsys: Capture) -> None:
    """Everything by default but the length, which keeps it short."""
    assert main(["modeldiff", "tiny-llama", "tiny-llama", "--length", "8", "--out", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "the same weights, so that D is 0 but for rounding: the largest D measured is" in printed
    assert "100% [100%, 100%] of A's and 100% [100%, 100%] of B's are plausible to both" in printed
    assert Comparison.load(out / "samples.npz").a.difference_N == pytest.approx(0.0, abs=1e-4)
    for name, value in RunRecord.load(out).measures.items():
        assert "plausible to both" not in name or value.estimate == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["tokens", "text"])
def test_the_same_weights_with_another_configuration_are_not_the_same(
    mode: str, out: Path, tmp_path: Path, capsys: Capture
) -> None:
    from armillary.models import tiny

    for name in ("a", "b"):
        tiny("llama").model.save_pretrained(tmp_path / name)
        tiny("llama").tokenizer.save_pretrained(tmp_path / name)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 100.0
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    command = ["modeldiff", str(tmp_path / "a"), str(tmp_path / "b"), "--samples", "150", "--length", "5"]
    assert main([*command, "--mode", mode, "--out", str(out)]) == 0
    first = RunRecord.load(out).findings[0].text
    assert first.startswith("A and B are the same weights with another configuration: the largest D measured is ")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--length", "0"], "length must be 1 token or more"),
        (["--samples", "1"], "samples must be 2 or more"),
        (["--window", "9", "3"], "0 <= low < high"),
        (["--window", "1", "2", "3"], "two numbers of nats, or four"),
        (["--window", "0.001", "0.002", "--samples", "40"], "None of 40 samples"),
        (["--temperatures", "2.0"], "temperatures must contain 1"),
        (["--length", "600"], "512 positions"),
        (["--prefix", "red " * 600], "512 positions"),
        (["--reference", "nowhere.txt"], "could not be read"),
        (["--reference", "nowhere.txt", "--window", "1", "2"], "and not both"),
        (["--ratings", "nowhere.csv"], "could not be read"),
        (["--mode", "text", "--window", "1", "2"], "leave window out"),
        (["--mode", "text", "--ban-eos", "--temperatures", "1", "2"], "leave ban_eos and temperatures out"),
        (["--mode", "text", "--proposal", "tempered"], "leave proposal out"),
        (["--mode", "text", "--sheet", "s.csv"], "--sheet needs the token mode"),
        (["--weighting", "none"], "none"),
    ],
)
def test_refusals_are_one_sentence(options: list[str], word: str, out: Path, capsys: Capture) -> None:
    assert main([*PAIR, *options, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert word in told.err and "unforeseen" not in told.err and told.out == ""
    assert len([line for line in told.err.splitlines() if line.startswith("armillary:")]) == 1
    assert not (out / "record.json").exists()


def test_different_tokenizers_are_refused_with_the_reason(
    out: Path, capsys: Capture, save_tiny: Callable[[str], Path]
) -> None:
    other = save_tiny("llama")
    assert main(["modeldiff", "tiny-llama", str(other), "--samples", "40", "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "have different vocabularies" in told and "--mode text" in told
    command = ["modeldiff", "lineage", "tiny-llama", str(other), "--length", "4", "--samples", "40"]
    assert main([*command, "--out", str(out / "lineage")]) == 0, "the weights can be compared all the same"
    told = RunRecord.load(out / "lineage").findings[0].text
    assert told.startswith("Derived") and "Predictions were not compared" in told and "--mode" not in told


@pytest.fixture
def save_tiny(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with a tiny model in whose tokenizer two words have each other's id."""

    def save(kind: str) -> Path:
        from armillary.models import tiny

        loaded, folder = with_tokens_exchanged(tiny(kind)), tmp_path / "other"
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.mark.parametrize("options", [[], ["--calibrate"]])
def test_lineage_dry_and_replayed(options: list[str], out: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["modeldiff", "lineage", "a", "b", *options, "--dry-run", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    weights, predictions = record["sections"][0]["tables"]
    assert {row[0] for row in weights["rows"]} >= {"embedding", "self_attn.q_proj", "mlp.down_proj"}
    kinds = [row[1] for row in predictions["rows"]]
    assert kinds.count("candidate") == 1 and any("derivation" in kind for kind in kinds) == bool(options)
    told = record["findings"][0]["text"]
    assert ("known derivations lie between" in told) == bool(options)
    # The two tiny models of a dry run are drawn with one seed: they are kin, and it shows.
    assert told.startswith("Derived: ") and record["measures"]["weights/median cosine"]["estimate"] > 0.99
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0, capsys.readouterr().out


def test_lineage_among_derivations_and_strangers(out: Path, capsys: Capture) -> None:
    command = ["modeldiff", "lineage", "tiny-llama", "tiny-llama", "--calibrate", "--unrelated", "tiny-qwen3"]
    assert main([*command, "--length", "6", "--samples", "100", "--out", str(out)]) == 0
    assert "Identical: the two models predict the same up to rounding." in " ".join(capsys.readouterr().out.split())
    assert set(RunRecord.load(out).models) == {"a", "b", "unrelated 1"}


def test_lineage_has_its_own_help(capsys: Capture) -> None:
    assert main(["modeldiff", "lineage", "--help"]) == 0
    told = capsys.readouterr().out
    assert "usage: armillary modeldiff lineage" in told and "--calibrate" in told and "--window" not in told
    assert main(["modeldiff", "lineage", "one"]) == 2
