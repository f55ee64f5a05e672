"""Encoders of attributes' sentences: hashed words, which need no weights, a transformer, or features of one's own.

Each is a module whose ``forward(texts)`` gives vectors ``[n, d]``; the space is tuned through it, so that any other
module of this form may be given in their place.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from armillary.attributes.text_stats import TextStats
from armillary.errors import ModelError, UsageError
from armillary.models.quiet import quiet, reason

BUCKETS = 2**13
"""Places into which words are hashed: those of some thousand texts share few, and a step moves a million numbers."""

WIDTH = 128
"""Size of the hashed words' vectors: random projections keep cosines to about 1 / sqrt(128)."""

LONGEST = 128
"""Tokens of an attribute that a transformer reads: a sentence, with room."""

ENCODED_AT_ONCE = 256


class HashedWords(nn.Module):
    """A trainable vector for each word and each three letters in a row of it, summed and brought to unit length.

    Starts as a random projection of the counts, the same for the same seed, whose cosines are about those of the bags
    of words themselves.
    """

    learning_rate = 1e-2
    """For tables that start at random, where pretrained weights would be spoiled."""

    def __init__(self, width: int = WIDTH, buckets: int = BUCKETS, seed: int = 0) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = nn.EmbeddingBag(buckets, width, mode="sum", sparse=False)
        weights = torch.randn((buckets, width), generator=torch.Generator().manual_seed(seed)) / width**0.5
        self.table.weight = nn.Parameter(weights)
        self._rows: dict[str, list[int]] = {}

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors, ``[n, d]``."""
        rows = [self._row(text) for text in texts]
        offsets = np.cumsum([0, *map(len, rows[:-1])])
        device = self.table.weight.device
        flat = torch.tensor([index for row in rows for index in row], dtype=torch.long, device=device)
        vectors = self.table(flat, torch.tensor(offsets, device=device))
        return functional.normalize(vectors, dim=-1)

    def _row(self, text: str) -> list[int]:
        if text not in self._rows:
            words = TextStats(text).folded
            letters = [f"#{word}#"[at : at + 3] for word in words for at in range(len(word))]
            # crc32 and not hash(), which differs from process to process.
            self._rows[text] = [zlib.crc32(part.encode()) % self.buckets for part in [*words, *letters]] or [0]
        return self._rows[text]


class MeanPooled(nn.Module):
    """A transformer whose last hidden states are averaged over a text's tokens and brought to unit length.

    The released indexing leaves out the length; training and index are alike here.
    """

    learning_rate = 2e-5
    """Released."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.model = model
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path | str) -> "MeanPooled":
        """The encoder in a folder of transformers (config.json, weights, tokenizer); ModelError where it is none."""
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} can't be opened as a text encoder: {reason(error)}.") from error
        return cls(model, tokenizer)

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors, ``[n, d]``."""
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        ).to(self.model.device)
        states_NTD = cast(Any, self.model)(**batch).last_hidden_state
        kept_NT1 = batch["attention_mask"][..., None].to(states_NTD.dtype)
        return functional.normalize((states_NTD * kept_NT1).sum(1) / kept_NT1.sum(1).clamp_min(1), dim=-1)


class OnFeatures(nn.Module):
    """A trainable matrix, at first the identity, on features that a function gives of texts."""

    learning_rate = 1e-3
    """For one matrix that starts at the identity."""

    def __init__(self, features: Callable[[Sequence[str]], object]) -> None:
        super().__init__()
        self.features = features
        first = self._given(["a text"])
        self.matrix = nn.Parameter(torch.eye(first.shape[1]))

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors, ``[n, d]``. UsageError where the function gives no table of a row a text."""
        return functional.normalize(self._given(texts) @ self.matrix, dim=-1)

    def _given(self, texts: Sequence[str]) -> Tensor:
        table = torch.as_tensor(np.asarray(self.features(list(texts)), np.float32))
        if table.dim() != 2 or len(table) != len(texts):
            raise UsageError(f"features must be a table with a row for each text; got {tuple(table.shape)}.")
        return table


@torch.inference_mode()
def encoded(encoder: nn.Module, texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Unit vectors of the texts, ``[n, d]`` float32, in batches. UsageError where the module gives something else."""
    encoder.eval()
    rows = []
    for start in range(0, len(texts), ENCODED_AT_ONCE):
        batch = texts[start : start + ENCODED_AT_ONCE]
        vectors = encoder(batch)
        if not isinstance(vectors, Tensor) or vectors.dim() != 2 or len(vectors) != len(batch):
            raise UsageError(f"{type(encoder).__name__} must give a vector for each of {len(batch)} texts.")
        rows.append(functional.normalize(vectors.float(), dim=-1).cpu().numpy())
    return np.concatenate(rows)
