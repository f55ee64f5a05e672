"""A run that was killed and resumed ends with the same weights as one that was not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.errors import UsageError

from .mdgd_toy import make, run, weights


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "copy", "preset": "paper"},
        {"reference": "cache", "mask_ratio": 0.2, "mask_batches": 2},
        {"reference": "copy", "projection": "full", "projection_direction": "random", "visual_align_weight": 0.5},
        {"reference": "cache", "projection_of": "update", "projection": "conflict"},
    ],
    ids=["copy", "cache and mask", "random direction", "update"],
)
def test_resumed_equals_unbroken(changes: dict[str, Any], tmp_path: Path) -> None:
    changes |= {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "weight_decay": 0.1}
    whole = run(tmp_path / "whole", **changes)
    broken = tmp_path / "broken"
    run(broken, **changes)
    shutil.rmtree(broken / "checkpoint-4")  # as if it had been killed after the second step
    resumed = make(broken, **changes)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert resumed.state.global_step == 4


def test_resuming_from_other_weights_is_refused(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    tuned = run(tmp_path, **changes)
    with pytest.raises(UsageError, match="is not the one that the run began with"):
        make(tmp_path, model=tuned.model, **changes).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    given = make(tmp_path, model=tuned.model, extra={"reference_model": make(tmp_path).model}, **changes)
    given.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(weights(given), weights(run(tmp_path / "whole", **changes)))
