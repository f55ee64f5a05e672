"""MDGD: fine-tune an image-text model on a task while its image states stay where pre-training put them.

"Mitigating Visual Knowledge Forgetting in MLLM Instruction-tuning via Modality-decoupled Gradient Descent", Wu and
others, 2025, arXiv 2502.11740. Names resolve lazily, so that the settings can be read without torch.
"""

import importlib
from typing import Any

from armillary.cards import MDGD as CARD

_NAMES = {
    "arguments": ("MDGDConfig",),
    "config": ("MDGDSettings", "PRESETS"),
    "core": ("DecouplingStatistics", "decouple", "decouple_", "project_out"),
    "drift": ("drift_loss", "relative_drift", "visual_hidden_states"),
    "forgetting": ("ForgettingTable", "forgetting_table", "harmonic_mean"),
    "mask": ("topk_indices", "topk_mask"),
    "masked_adamw": ("MaskedAdamW",),
    "rank_callback": ("VisualRank", "VisualRankCallback", "visual_rank"),
    "reference": ("AdapterReference", "CopiedReference", "StateReference"),
    "reference_cache": ("CachedReference",),
    "rivals": (
        "DistillationMixin",
        "L2SPMixin",
        "interpolate_",
        "keep_patch_",
        "language_lora",
        "orthogonal_subspace",
        "rival_settings",
        "trainable_weights",
    ),
    "trainer": ("MDGDMixin", "MDGDTrainer"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
