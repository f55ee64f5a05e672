"""``armillary train text``: rows in, an adapter or a model out, whole, killed, and asked wrongly."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.cli import train
from armillary.cli.console import guarded
from armillary.finetuning.text import work
from armillary.models import load
from armillary.models.quiet import quiet
from armillary.records.record import RunRecord
from processes import content

Capture = pytest.CaptureFixture[str]
ROWS: list[dict[str, Any]] = [
    *({"prompt": f"say {word}", "answer": word, "tag": "echo"} for word in ("one", "two", "three", "four", "five")),
    {"prompt": "a b", "answer": "c d"},
    {"given": "one two three", "text": "four five six"},
    {"text": "a text of its own"},
]


def written(folder: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return str(path)


def command(rows: str, out: Path, *more: str) -> list[str]:
    sizes = ("--steps", "6", "--batch-size", "3", "--learning-rate", "1e-2", "--held-out", "0.6")
    return ["text", rows, "--model", "tiny-llama", *sizes, "--out", str(out), *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("text")
    assert guarded(train.run, command(written(folder), folder / "run", "--rank", "2")) == 0
    return folder / "run"


def test_an_adapter_is_left_that_peft_opens(whole: Path, capsys: Capture) -> None:
    from peft import PeftModel

    assert {path.name for path in whole.iterdir()} - {".lock"} == {"record.json", "report.html", "adapter"}
    base, tuned = load("tiny-llama"), load(whole / "adapter")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad(), quiet():  # PEFT asks transformers for what will have another name
        ours, before = tuned.model(ids).logits, base.model(ids).logits
        theirs = PeftModel.from_pretrained(base.model, str(whole / "adapter"))(ids).logits
    assert not torch.allclose(ours, before)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_record_tells_the_loss_and_what_to_look_at_next(whole: Path, capsys: Capture) -> None:
    record = RunRecord.load(whole)
    assert [section.id for section in record.sections] == ["learned", "training"]
    assert record.measures["held-out rows: nats a learned token, before"].n == 5
    (figure,) = record.sections[1].figures
    assert len(figure.data.x) == 6  # type: ignore[union-attr]
    rows = str(whole.parent / "rows.jsonl")
    before = (whole / "record.json").read_bytes()
    assert guarded(train.run, command(rows, whole, "--rank", "2")) == 0
    assert f"Next: armillary diff {whole / 'adapter'}" in capsys.readouterr().out
    assert (whole / "record.json").read_bytes() == before, "a finished run is read"


def test_a_killed_run_ends_as_an_uninterrupted_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, kept = str(whole.parent / "rows.jsonl"), work.train_rows

    def stopped(*args: Any, **kwargs: Any) -> None:
        # Two thirds of the way, in the second epoch.
        with monkeypatch.context() as patch:
            from armillary.training.checkpoints import StepBar

            def killed(self: StepBar, args: Any, state: Any, control: Any, **more: Any) -> None:
                if state.global_step == 4:
                    raise KeyboardInterrupt

            patch.setattr(StepBar, "on_step_end", killed)
            kept(*args, **kwargs)

    monkeypatch.setattr(work, "train_rows", stopped)
    out = tmp_path / "killed"
    assert guarded(train.run, command(rows, out, "--rank", "2")) == 130
    assert not (out / "adapter").exists() and list(out.rglob("checkpoint-3/trainable.safetensors"))
    monkeypatch.setattr(work, "train_rows", kept)
    assert guarded(train.run, command(rows, out, "--rank", "2")) == 0
    assert content(RunRecord.load(out)) == content(RunRecord.load(whole))
    weights = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in (out, whole)]
    assert weights[0] == weights[1]


def test_every_weight_can_be_trained(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    arguments = command(written(tmp_path), out, "--rank", "0", "--held-out", "0", "--steps", "4", "--dtype", "float32")
    assert guarded(train.run, arguments) == 0
    assert f"Next: armillary diff tiny-llama {out / 'model'}" in capsys.readouterr().out
    record, tuned, base = RunRecord.load(out), load(out / "model"), load("tiny-llama")
    moved = [not torch.equal(*pair) for pair in zip(tuned.model.parameters(), base.model.parameters(), strict=True)]
    assert all(moved)
    assert record.measures["learned rows: nats a learned token, change"].estimate < 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rank", "2", "--modules", "q_prj"], "modules names 'q_prj'; the layers of tiny-llama have 'q_proj'"),
        (["--rank", "2", "--layers", "0", "7"], "layers names layer 7; this model has the layers 0 to"),
        (["--rank", "0", "--top-share", "0.5"], "rank 0 trains every weight"),
        (["--rank", "0", "--dtype", "bfloat16"], "lose small steps to rounding"),
        (["--rank", "0", "--learning-rate", "1e30"], "give a lower learning_rate than 1e+30"),
        (["--most-tokens", "2"], "no row has anything to learn within the 2 tokens"),
        (["--warmup", "1"], "warmup must be 0 or more and below 1, got 1"),
    ],
)
def test_wrong_settings_are_one_sentence(options: list[str], told: str, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("peft")
    rows = written(tmp_path, [{"prompt": "a b", "answer": "c"}])
    assert guarded(train.run, command(rows, tmp_path / "run", *options)) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run" / "record.json").exists()


def test_rows_that_are_cut_are_counted_and_told(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("peft")
    rows = [*ROWS, {"prompt": "word " * 40, "answer": "c"}, {"text": "word " * 40}]
    arguments = command(written(tmp_path, rows), tmp_path / "run", "--rank", "2", "--most-tokens", "24", "--json")
    assert guarded(train.run, arguments) == 0
    record = json.loads(capsys.readouterr().out)
    (told,) = [finding["text"] for finding in record["findings"] if "up to 24 tokens" in finding["text"]]
    assert "1 lost their end" in told and "1 were left out" in told
    assert math.isfinite(record["measures"]["held-out rows: nats a learned token, after"]["estimate"])
