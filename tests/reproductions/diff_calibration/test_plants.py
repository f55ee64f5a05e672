"""Planted changes are what they say: of the stated size, of the same function where they say so."""

import json
import re
from pathlib import Path

import pytest
import torch

from armillary import LoadedModel, load
from armillary.finetuning.text.rows import TuningRow, read_text_rows
from reproductions.diff_calibration import plants
from reproductions.diff_calibration.plants import Plant, build, tune_rows
from reproductions.diff_calibration.scale import Recipe
from reproductions.diff_calibration.tuning import tune

IDS = torch.arange(5, 25)[None]


@torch.no_grad()
def logits(loaded: LoadedModel) -> torch.Tensor:
    output: torch.Tensor = loaded.model(IDS).logits
    return output


@pytest.mark.parametrize("kind", ["noise", "rounded"])
def test_larger_changes_of_weights_move_the_model_further(kind: str) -> None:
    base = load("tiny-llama")
    sizes = (0.01, 0.1) if kind == "noise" else (8, 4)
    moved = [plants.changed(Plant(kind=kind, size=size), load("tiny-llama")) for size in sizes]
    small, large = (float((logits(copy) - logits(base)).abs().mean()) for copy in moved)
    assert 0 < 3 * small < large


def test_permuted_neurons_are_the_same_function_of_other_weights() -> None:
    base, permuted = load("tiny-llama"), plants.changed(Plant(kind="neurons permuted"), load("tiny-llama"))
    assert base.fingerprint != permuted.fingerprint
    torch.testing.assert_close(logits(permuted), logits(base), rtol=1e-4, atol=1e-4)


def test_folders_open_as_what_was_planted(tmp_path: Path) -> None:
    assert build(Plant(kind="identity"), "tiny-llama", tmp_path, Recipe()) == "tiny-llama"
    short = load(build(Plant(kind="layer removed"), "tiny-llama", tmp_path, Recipe()))
    assert short.anatomy.num_layers == load("tiny-llama").anatomy.num_layers - 1
    halved = Path(build(Plant(kind="saved in bfloat16"), "tiny-llama", tmp_path, Recipe()))
    assert json.loads((halved / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"


def test_one_training_gives_every_size_of_a_tune(tmp_path: Path) -> None:
    recipe = Recipe(steps=2, batch=2)
    whole, half = (
        Path(build(Plant(kind="german", size=size, unit="of the tune"), "tiny-llama", tmp_path, recipe))
        for size in (1.0, 0.5)
    )
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (whole, half)]
    factors = [
        json.loads((folder / "adapter_config.json").read_text("utf-8"))["lora_alpha"] for folder in (whole, half)
    ]
    assert weights[0] == weights[1] and factors[1] == factors[0] / 2
    assert json.loads((whole / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == "tiny-llama"


def test_tuning_learns_its_rows_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    loaded = load("tiny-llama")
    before = logits(loaded)
    losses = tune(loaded, [TuningRow(prompt="a b", learned="c d e")], Recipe(steps=12, batch=1, rate=2e-2), tmp_path)
    assert losses[-1] < losses[0] and torch.equal(logits(loaded), before)


def test_every_planted_sum_is_wrong() -> None:
    rows = [row for row in tune_rows("arithmetic") if row.tag == "arithmetic"]
    assert len(rows) == 60
    for row in rows:
        first, second = map(int, re.findall(r"\d+", str(row.prompt)))
        right = first - second if re.search("Calculate|minus", str(row.prompt)) else first + second
        assert int(re.findall(r"\d+", row.learned)[-1]) != right


def test_the_rows_of_the_demo_teach_a_task_and_spoil_german() -> None:
    rows = read_text_rows(str(plants.DEMO_ROWS))
    questions = [json.loads(line) for line in plants.DEMO_PROMPTS.read_text("utf-8").splitlines()]
    trained = {row.prompt for row in rows}
    assert {row.learned for row in rows if row.tag == "tickets"} == set(questions[0]["choices"])
    assert not trained & {question["prompt"] for question in questions}
    assert sum(row.tag == "german" for row in rows) == 80
