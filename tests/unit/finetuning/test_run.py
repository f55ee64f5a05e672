"""Tuning: every arm trains, settings are told apart from their types, and old tasks are taken from their files."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from armillary.data.images.questions import IMAGE_TASKS, image_examples
from armillary.data.images.synthetic import STYLES, stand_in_emoji
from armillary.data.images.user_files import held_out, image_questions, read_questions
from armillary.errors import NumericError, UsageError
from armillary.finetuning import run as tuning
from armillary.finetuning.arguments import method_settings, reading_steps, total_steps, training_arguments
from armillary.finetuning.config import ARMS, TuningConfig
from armillary.finetuning.data import chance, tuning_questions
from armillary.finetuning.report import curve, series_named
from armillary.finetuning.run import arm_trainer, trained_network
from armillary.methods.mdgd import MDGDSettings
from armillary.models.image_text import tiny_image_text_model
from armillary.records.plain import decode, plain
from armillary.training.components import component_norms
from armillary.training.questions import QuestionEncoder, QuestionRows

EMOJI = {"pictures": "emoji", "target": "code", "keep": ["style", "colour"]}


def config(method: Any, own: dict[str, Any] | None = None, **more: Any) -> TuningConfig:
    table = {"model": "any", "data": EMOJI, "training": {"use_cpu": True}, method: own or {}, **more}
    return TuningConfig.from_file(method, table, "The configuration").dry()


def trained(chosen: TuningConfig, folder: Path) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """The weights before, and the model after two steps."""
    gc.freeze()  # the stock trainer collects garbage when it begins, which is long with libraries loaded
    opened, questions = tiny_image_text_model(), tuning_questions(chosen)
    before = {name: value.clone() for name, value in opened.model.named_parameters()}
    encoder = QuestionEncoder(opened.processor)
    arguments = training_arguments(chosen, folder, len(questions.train))
    arguments.save_strategy = "no"  # type: ignore[assignment]
    network = trained_network(chosen, opened)
    trainer = arm_trainer(chosen, network, arguments, encoder, QuestionRows(encoder, questions.train), [])
    trainer.train()
    return before, opened.model


@pytest.mark.parametrize(("method", "arm"), [(method, arm) for method, arms in ARMS.items() for arm in arms])
def test_every_arm_trains(method: str, arm: str, tmp_path: Path) -> None:
    before, after = trained(config(method, {"arm": arm}), tmp_path)
    changed = {name for name, value in after.named_parameters() if not torch.equal(value, before[name])}
    learnt = {part for part in ("vision_tower", "projector", "language_model") if any(part in one for one in changed)}
    resting = {
        "feature_cd": {"language_model"},
        "language_cd": {"vision_tower", "projector"},
        "mdgd": {"projector"},  # the recommended preset; the projector makes image tokens alone
        "text_gradient": {"projector"},
    }
    fixed = ({"vision_tower"} if method == "mdgd" else set()) | resting.get(arm, set())
    assert learnt == {"vision_tower", "projector", "language_model"} - fixed


def test_arms_are_settings_and_the_file_has_the_last_word() -> None:
    plain = method_settings(config("mdgd", {"arm": "fine_tuning"}))
    assert isinstance(plain, MDGDSettings) and (plain.projection, plain.align_weight) == ("none", 0.0)
    changed = method_settings(config("mdgd", {"arm": "align_only", "visual_align_weight": 3}))
    assert isinstance(changed, MDGDSettings) and changed.align_weight == 3.0 and changed.projection == "none"
    constant = method_settings(config("commit", {"arm": "constant", "gamma": 0.2}))
    assert getattr(constant, "gamma", None) == 0.0


def test_the_seed_is_the_options_then_the_file_s() -> None:
    table = {"model": "any", "data": EMOJI, "training": {"seed": 5}}
    assert TuningConfig.from_file("mdgd", table, "x").seed == 5
    assert TuningConfig.from_file("mdgd", table, "x", seed=7).seed == 7
    assert "seed" not in TuningConfig.from_file("mdgd", table, "x", seed=7).training
    assert table["training"] == {"seed": 5}, "the file's table is left as it was"


def test_settings_come_back_from_a_record() -> None:
    one = config("mdgd", {"mask_ratio": 0.5}, lora={"rank": 3}, freeze=["connector"])
    kept = {**plain(one.config()), "files": {}}
    assert TuningConfig.from_table(kept, "The record") == one
    with pytest.raises(UsageError, match="The record has unknown fields: novelty"):
        TuningConfig.from_table({**kept, "novelty": 1}, "The record")


@pytest.mark.parametrize(
    ("given", "rows", "steps"),
    [
        ({"max_steps": 7}, 100, 7),
        ({"num_train_epochs": 2.0, "per_device_train_batch_size": 4}, 10, 6),
        ({"num_train_epochs": 1.5, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}, 12, 3),
        ({}, 1, 3),
    ],
)
def test_steps_are_counted_as_the_trainer_does(given: dict[str, Any], rows: int, steps: int) -> None:
    assert total_steps(given, rows) == steps


def test_readings_are_spread_over_the_run() -> None:
    assert reading_steps(config("mdgd"), 200) == 10 and reading_steps(config("mdgd"), 3) == 1
    assert reading_steps(config("mdgd", {"log_erank_steps": 7}), 200) == 7


def test_types_are_checked_by_their_annotations() -> None:
    assert decode(MDGDSettings, {"mask_probe": 1}, "x").mask_probe == 1.0
    for name, value, words in (
        ("mask_batches", True, "a whole number"),
        ("mask_ratio", "0.1", "a number"),
        ("drift_tolerance", "none", "a number"),
        ("visual_layers", 3, "text"),
    ):
        with pytest.raises(UsageError, match=words):
            decode(MDGDSettings, {name: value}, "x")


def test_a_tenth_of_the_images_is_held_out_whole(tmp_path: Path) -> None:
    from PIL import Image

    lines = []
    for number in range(40):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
        lines += [f'{{"image": "{number}.png", "question": "{q}?", "answer": "a"}}' for q in ("one", "two")]
    (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n\n")
    questions = read_questions(tmp_path / "all.jsonl", "x")
    kept, tested = held_out(questions, tmp_path)
    assert len(questions) == 80 == len(kept) + len(tested) and 0 < len(tested) < 30
    assert not {str(one.image) for one in kept} & {str(one.image) for one in tested}
    assert held_out(questions[::-1], tmp_path)[1][::-1] == tested


def test_the_stand_in_has_questions_for_every_task() -> None:
    emoji = stand_in_emoji()
    for task in IMAGE_TASKS:
        examples = image_examples(emoji, task, "test")
        assert len(examples) >= 8, task
        asked = image_questions(emoji, examples[:3], task)
        assert all(one.task == task for one in asked)
    styles = image_questions(emoji, image_examples(emoji, "style", "test", limit=4), "style")
    assert chance(styles) == 1 / len(STYLES)
    names = image_questions(emoji, image_examples(emoji, "name", "test", limit=4), "name")
    assert chance(names) == 0.0


def test_curves_take_the_first_line_of_a_step() -> None:
    log = [{"step": 2, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 1, "loss": 4.0}, {"step": 3, "other": None}]
    series = series_named(log, {"loss": "Loss", "other": "Other"})
    assert list(series) == ["Loss"] and series["Loss"].x == [1, 2] and series["Loss"].y == [4.0, 3.0]
    figure = curve("Title", series, "nats")
    assert figure is not None and figure.data.x == [1, 2] and curve("Title", {}, "") is None


def test_norms_by_component_are_those_of_all_its_gradients() -> None:
    one, two, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    norms = component_norms({"both": {"a": one, "b": two}, "rest": {"c": none}})
    assert float(norms["both"]) == 5.0 and float(norms["rest"]) == 0.0


def test_a_loss_that_is_no_number_is_told() -> None:
    with pytest.raises(NumericError, match="the training diverged"):
        tuning._refuse_diverged([{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}])
