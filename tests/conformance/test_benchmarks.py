"""Benchmarks run where they are told to: one place opens models, one reads clocks, and records are kept apart."""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import measure
from benchmarks.measure import Hardware, add_hardware, file_stem, hardware_of, per, show_and_save, timed
from tools.docs_tables import benchmarks_table

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py"))}

NO_BENCHMARK = {"measure", "peft_cat"}
ON_THE_PROCESSOR = {"bricks_merge", "busy", "diff_killed", "growth", "ultragen"}
"""Measured there by what they are; their docstrings say why."""

CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "thread_time", "monotonic"}


def faults(text: str) -> list[str]:
    """Where a script opens a model, reads a clock or chooses a device by itself."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            found.append(f"{node.lineno}: {node.attr}")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("armillary.load", "load", "models.load", "open_adapter", "AutoModelForCausalLM.from_pretrained"):
            found.append(f"{node.lineno}: {called}")
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg == "device" and value in measure.DEVICES) or (keyword.arg == "use_cpu" and value):
                found.append(f"{node.lineno}: {keyword.arg}={value}")
    return found


def test_models_and_clocks_are_taken_from_one_place() -> None:
    wrong = 'a = armillary.load(name, device="cpu")\nb = time.perf_counter()\nTrainingArguments(use_cpu=True)\n'
    assert faults(wrong) == ["1: armillary.load", "1: device=cpu", "3: use_cpu=True", "2: perf_counter"]
    # How long it waits before it kills a command is no measurement.
    allowed = {"measure", "diff_killed"}
    found = {name: lines for name, path in SCRIPTS.items() if (lines := faults(path.read_text("utf-8")))}
    assert {name: lines for name, lines in found.items() if name not in allowed} == {}


@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - NO_BENCHMARK))
def test_every_benchmark_takes_a_device_or_says_why_not(name: str) -> None:
    text = SCRIPTS[name].read_text("utf-8")
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    if name in ON_THE_PROCESSOR:
        assert "no ``--device``" in (ast.get_docstring(ast.parse(text)) or "")
        assert "add_hardware" not in called
    else:
        assert {"add_hardware", "hardware_of"} <= called
        assert "hardware=" in text, "a record of other hardware would take the place of the committed one"


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_hardware(parser)
    return parser.parse_args(arguments)


def test_the_usual_format_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert hardware_of(options()) == Hardware() and hardware_of(options()).plain
    assert hardware_of(options("--device", "cuda")) == Hardware(device="cuda", dtype="bfloat16")
    assert hardware_of(options("--device", "cuda", "--dtype", "float32")).dtype == "float32"
    there = hardware_of(options("--device", "cuda"))
    assert hardware_of(options(*there.flags)) == there, "a process of its own measures on the same"


@pytest.mark.parametrize(("count", "words"), [(0, "is not on this machine; it has cpu."), (2, "takes one card")])
def test_a_device_that_is_not_there_is_refused(
    count: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        hardware_of(options("--device", "cuda"))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_models_are_opened_in_the_format_and_trained_ones_in_float32() -> None:
    hardware = Hardware(dtype="bfloat16")
    assert hardware.load("tiny-llama").dtype == torch.bfloat16
    assert hardware.load("tiny-llama", trained=True).dtype == torch.float32
    assert hardware.training["bf16"] and hardware.training["use_cpu"]
    assert not Hardware().training["bf16"] and not Hardware(device="cuda", dtype="float32").training["use_cpu"]


def test_a_card_is_waited_for_before_each_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that goes on after its call returns belongs to the block that began it, not to the next one."""
    clock, queue = SimpleNamespace(now=10.0), [3.0]  # seconds of work from before the block

    def synchronize() -> None:
        clock.now += sum(queue)
        queue.clear()

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    with timed("cuda:0") as spent:
        queue.append(5.0)
    assert spent["seconds"] == 5.0
    with timed("cpu") as spent:
        clock.now += 7.0
        queue.append(11.0)
    assert spent["seconds"] == 7.0 and queue, "the processor waits for nothing"
    assert per(spent, 2)["seconds"] == 3.5


def test_memory_on_a_card_is_that_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(now=300 * 2**20, most=900 * 2**20)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(card, "most", card.now))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: card.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: card.most)
    hardware = Hardware(device="cuda", dtype="bfloat16")
    assert hardware.peak_mb() == 900 and hardware.resting_mb() == 300
    assert hardware.peak_mb() == 300, "the peak of loading is forgotten"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(Hardware, "facts", lambda self: {"card": "NVIDIA H200"} if self.device == "cuda" else {})
    yield tmp_path


def test_records_of_a_card_stand_beside_the_others_and_say_so(results: Path) -> None:
    spread = {"median": 2.0, "low": 1.5, "high": 2.5, "repeats": 5}
    rows: list[dict[str, object]] = [{"what": "time, s", "peer": 2.0, "ours": 1.0, "ratio": spread}]
    kinds = {
        "nll": Hardware(),
        "nll-cuda": Hardware(device="cuda", dtype="bfloat16"),
        "nll-cuda-float32": Hardware(device="cuda", dtype="float32"),
        "nll-bfloat16": Hardware(dtype="bfloat16"),
    }
    for stem, hardware in kinds.items():
        assert file_stem("nll", hardware) == stem
        show_and_save("nll", "NLL", "some-model", {"texts": 3}, rows, hardware=hardware)
    show_and_save("ultragen", "Checks", "none", {}, rows)
    show_and_save("nll", "NLL", "some-model", {}, rows, hardware=Hardware(), quick=True)
    assert {path.stem for path in results.glob("*.json")} == {*kinds, "ultragen", "nll-quick"}
    record = json.loads((results / "nll-cuda.json").read_text("utf-8"))
    assert record["settings"] == {"texts": 3, "device": "cuda", "dtype": "bfloat16"}
    assert record["machine"]["card"] == "NVIDIA H200"
    models = [line.split(" | ")[1] for line in benchmarks_table(results).splitlines()[2:]]
    assert sorted(models) == [
        "none",
        "some-model",
        "some-model, bfloat16 on NVIDIA H200",
        "some-model, bfloat16 on the processor",
        "some-model, float32 on NVIDIA H200",
    ]
    assert benchmarks_table(results).count("../benchmarks/nll.py") == 4


def test_measuring_needs_no_torch_on_the_processor() -> None:
    """Threads are chosen before torch is imported, and one benchmark measures just that."""
    code = "import measure, sys\nwith measure.timed('cpu'): measure.peak_mb()\nassert not sys.modules.get('torch')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks", check=True)
