"""The adapter of the demonstration is what its page is said to show: of its base, small, in the upper half alone."""

import json

from safetensors import safe_open

from reproductions.diff_calibration.plants import DEMO_ROWS

FOLDER = DEMO_ROWS.parent


def test_the_adapter_is_small_names_its_base_and_stands_in_the_upper_half() -> None:
    settings = json.loads((FOLDER / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert settings["base_model_name_or_path"] == "smollm2-135m-instruct"
    weights = FOLDER / "adapter" / "adapter_model.safetensors"
    assert weights.stat().st_size < 1_050_000
    with safe_open(weights, framework="np") as file:
        layers = {int(name.split(".layers.")[1].split(".")[0]) for name in file.keys()}  # noqa: SIM118
    assert layers == set(range(15, 30)) == set(settings["layers_to_transform"])


def test_the_passages_are_the_same_in_both_languages() -> None:
    lines = [len((FOLDER / f"{name}.txt").read_text("utf-8").splitlines()) for name in ("german", "english")]
    assert lines[0] == lines[1] >= 12
