"""TRL's trainer with decoupled gradients, and the settings on a command line."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HfArgumentParser

from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.trainer import MDGDConfig, MDGDMixin
from armillary.models.tiny_models import tiny_tokenizer
from armillary.models.tiny_vision_models import tiny_vision

from .mdgd_toy import ToyImages, collated, logged


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_trls_trainer_takes_the_mixin(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")

    class Ours(MDGDMixin, trl.SFTTrainer):  # type: ignore[misc, name-defined]
        pass

    @dataclass
    class Settings(MDGDSettings, trl.SFTConfig):  # type: ignore[misc, name-defined]
        def __post_init__(self) -> None:
            self.resolve()
            super().__post_init__()

    def trained(kind: Any, name: str, **changes: Any) -> Any:
        toy = tiny_vision()
        rows = [{key: value[0].tolist() for key, value in row.items()} for row in ToyImages(toy, 8).rows]
        common = {"max_steps": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "use_cpu": True}
        common |= {"bf16": False, "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "report_to": "none"}
        common |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
        common |= {"learning_rate": 1e-3, "max_length": None, "dataloader_pin_memory": False}

        def collator(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            return collated([{key: torch.tensor([value]) for key, value in row.items()} for row in examples])

        arguments = (Settings if kind is Ours else trl.SFTConfig)(output_dir=str(tmp_path / name), **common, **changes)
        trainer = kind(
            model=toy.model,
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            data_collator=collator,
            processing_class=tiny_tokenizer(),
        )
        trainer.train()
        return trainer

    ours = trained(Ours, "a", preset="paper")
    drift = logged(ours, "visual_drift")
    assert drift[0] == 0 < drift[2] and logged(ours, "gradient_removed")[2] > 0
    stock = trained(trl.SFTTrainer, "b")
    neutral = trained(Ours, "c", projection="none", visual_align_weight=0.0, freeze_vision=False)
    for one, other in zip(stock.model.parameters(), neutral.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_settings_are_read_from_a_command_line(tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path), "--preset", "paper", "--mask_ratio", "0.1", "--visual_layers", "0,1"]
    (config,) = HfArgumentParser(MDGDConfig).parse_args_into_dataclasses(words)
    assert (config.projection, config.align_weight, config.mask_ratio, config.visual_layers) == ("full", 1, 0.1, "0,1")
    assert config.to_dict()["projection"] == "full"


def test_presets_fill_in_what_is_not_given() -> None:
    for preset, values in (("paper", ("full", 1, "all")), ("recommended", ("none", 0, "text"))):
        settings = MDGDSettings(preset=preset)
        settings.resolve()
        assert (settings.projection, settings.align_weight, settings.task_gradient) == values
    half = MDGDSettings(projection="conflict")
    half.resolve()
    assert (half.align_weight, half.task_gradient) == (0, "all"), "a projection of one's own means the whole gradient"
    own = MDGDSettings(preset="paper", visual_align_weight=0.0)
    own.resolve()
    assert own.projection == "full" and own.align_weight == 0 and own.reads_images


def test_settings_load_no_torch() -> None:
    code = "import armillary.methods.mdgd as m, sys; m.MDGDSettings(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_resolve() -> None:
    import armillary.methods.mdgd as room

    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        room.nothing_here  # noqa: B018
