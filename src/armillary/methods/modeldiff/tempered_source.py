"""Parallel tempering in the place of plain sampling: draws at several whole-sequence temperatures as a source.

Worth its price where plain draws hardly reach the window: far above the typical NLL at greater lengths, or far below.
Legend: N rows, B rows of a batch, L tokens of a sequence, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Draws, Floats, Scorer, Tokens
from armillary.methods.modeldiff.source import ModelSource
from armillary.methods.modeldiff.tempering import Redraw, TemperedModel, parallel_tempering
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import copy_cache, growing_cache, require_cache
from armillary.scoring.sampling import draw


@dataclass(frozen=True, kw_only=True)
class TemperedSource:
    """Draws by parallel tempering, scores by ``scorer``; a ``SequenceSource`` for ``compare``."""

    scorer: Scorer
    model: TemperedModel
    length: int
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    chains: int = 64
    sweeps: int = 400
    burn_in: int = 100

    @classmethod
    def of(
        cls, loaded: LoadedModel, space: InputSpace, config: CompareConfig | None = None, **settings: Any
    ) -> "TemperedSource":
        """A loaded model over ``space``; ``settings`` are the fields above. Raises UsageError like ``ModelSource``."""
        config = config or CompareConfig()
        return cls.around(ModelSource.of(loaded, space, config), config, **settings)

    @classmethod
    def around(cls, source: ModelSource, config: CompareConfig, **settings: Any) -> "TemperedSource":
        """The model of a source with its prefix and its banned tokens; rungs at the temperatures of ``config``.

        At temperature 1 alone, which is no ladder, the rungs are those above.
        """
        if len(config.temperatures) > 1:
            settings = {"temperatures": config.temperatures, **settings}
        model = LoadedTempered(source.loaded, source.prefix, banned_ids=source.banned)
        return cls(scorer=source, model=model, length=source.length, **settings)

    def sample(self, n: int, *, seed: int) -> Draws:
        """All draws that one run of the ladders gives after thinning; it goes on until they are ``n`` or more.

        Raises NumericError where the chains did not mix.
        """
        chains = parallel_tempering(
            self.model,
            length=self.length,
            temperatures=self.temperatures,
            chains=self.chains,
            sweeps=self.sweeps,
            burn_in=self.burn_in,
            least=n,
            seed=seed,
            label="Parallel tempering",
        )
        return replace(chains.draws(), unit_N=chains.chain_N)

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats) of each sequence."""
        return self.scorer.score(ids_NL)


# A language model as parallel tempering needs it: suffixes redrawn on the key-value cache of what stays.


class LoadedTempered:
    """Sequences after a fixed prefix under a model; logits in float32, sums over tokens in float64."""

    def __init__(
        self, loaded: LoadedModel, prefix_ids: Sequence[int], *, banned_ids: Sequence[int] = (), batch_size: int = 256
    ) -> None:
        """``banned_ids`` get probability 0 and the others are renormalised; ``batch_size`` rows run together.

        ModelError for a model without a key-value cache, UsageError for an empty prefix.
        """
        require_cache(loaded, "tempering")
        if not prefix_ids:
            raise UsageError("the prefix must have one token or more, such as the beginning-of-text token.")
        if batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more, got {batch_size}.")
        self.loaded, self.batch_size = loaded, batch_size
        self.banned = torch.tensor(list(banned_ids), dtype=torch.long, device=loaded.device)
        self.prefix = torch.tensor([list(prefix_ids)], dtype=torch.long, device=loaded.device)
        self._stem = growing_cache()
        with torch.inference_mode():
            self._stem_hidden_1D = run_body(loaded, self.prefix, cache=self._stem)[:, -1]

    @torch.inference_mode()
    def log_prob(self, ids_NL: Tokens) -> Floats:
        """Log-probability (nats) of each sequence given the prefix. NumericError for NaN."""
        parts = []
        for start in range(0, len(ids_NL), self.batch_size):
            ids_BL = torch.as_tensor(ids_NL[start : start + self.batch_size], device=self.loaded.device)
            hidden_BLD = self._read(ids_BL)[1]
            ones_B = torch.ones(len(ids_BL), device=ids_BL.device)
            terms = [
                _log_probs(self._logits(hidden_BLD[:, index]), ids_BL[:, index], ones_B)
                for index in range(ids_BL.shape[1])
            ]
            parts.append(_numbers(torch.stack(terms).sum(dim=0)))
        return np.concatenate(parts)

    @torch.inference_mode()
    def redraw_suffix(self, ids_NL: Tokens, start_N: NDArray[np.int64], tau_N: Floats, uniforms_NL: Floats) -> Redraw:
        """As ``TemperedModel``; rows of a batch share the computation of what lies before their lowest start."""
        parts = []
        for first in range(0, len(ids_NL), self.batch_size):
            rows = slice(first, first + self.batch_size)
            inputs = (ids_NL[rows], start_N[rows], tau_N[rows].astype(np.float32), uniforms_NL[rows])
            parts.append(self._redraw(*(torch.as_tensor(array, device=self.loaded.device) for array in inputs)))
        return Redraw(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _redraw(
        self, old_BL: Tensor, start_B: Tensor, tau_B: Tensor, uniforms_BL: Tensor
    ) -> tuple[Tokens, Floats, Floats, Floats]:
        first, ones_B = int(start_B.min()), torch.ones_like(tau_B)
        cache, old_hidden_BLD = self._read(old_BL)
        cache.crop(first + 1 - old_BL.shape[1])  # to the prefix and the tokens before ``first``
        ids_BL, hidden_BD = old_BL.clone(), old_hidden_BLD[:, first]
        sums = torch.zeros((3, len(old_BL)), dtype=torch.float64, device=old_BL.device)
        for index in range(first, old_BL.shape[1]):
            redrawn_B = start_B <= index
            logits_BV = self._logits(hidden_BD)
            # The division makes new logits, since ``draw`` overwrites them.
            drawn_B = draw(logits_BV / tau_B[:, None], uniforms_BL[:, index])[0]
            ids_BL[:, index] = torch.where(redrawn_B, drawn_B, old_BL[:, index])
            q_new, p_new = (_log_probs(logits_BV, ids_BL[:, index], tau) for tau in (tau_B, ones_B))
            if index > first:
                logits_BV = self._logits(old_hidden_BLD[:, index])
            q_old, p_old = (_log_probs(logits_BV, old_BL[:, index], tau) for tau in (tau_B, ones_B))
            sums += torch.where(redrawn_B, torch.stack([q_new, q_old, p_new - p_old]), 0.0)
            if index + 1 < old_BL.shape[1]:
                hidden_BD = run_body(self.loaded, ids_BL[:, index : index + 1], cache=cache)[:, -1]
        q_new_B, q_old_B, change_B = (_numbers(row) for row in sums)
        return ids_BL.cpu().numpy(), q_new_B, q_old_B, change_B

    def _read(self, ids_BL: Tensor) -> tuple[Cache, Tensor]:
        """The cache after all tokens but the last, and the hidden state in front of each token ``[B, L, D]``."""
        room = self.loaded.max_positions
        tokens = self.prefix.shape[1] + ids_BL.shape[1]
        if room is not None and tokens > room:
            raise UsageError(f"prefix and sequence have {tokens} tokens; this model has {room} positions.")
        cache = copy_cache(self._stem, torch.zeros(len(ids_BL), dtype=torch.long, device=ids_BL.device))
        hidden_BLD = self._stem_hidden_1D.expand(len(ids_BL), 1, -1)
        if ids_BL.shape[1] > 1:
            hidden_BLD = torch.cat([hidden_BLD, run_body(self.loaded, ids_BL[:, :-1], cache=cache)], dim=1)
        return cache, hidden_BLD

    def _logits(self, hidden_BD: Tensor) -> Tensor:
        logits_BV = self.loaded.anatomy.logits(hidden_BD).float()
        return logits_BV.index_fill(1, self.banned, -torch.inf) if len(self.banned) else logits_BV


def _log_probs(logits_BV: Tensor, tokens_B: Tensor, tau_B: Tensor) -> Tensor:
    scaled_BV = logits_BV / tau_B[:, None]
    return scaled_BV.gather(1, tokens_B[:, None])[:, 0].double() - scaled_BV.logsumexp(dim=1).double()


def _numbers(values_B: Tensor) -> Floats:
    if bool(values_B.isnan().any()):
        raise NumericError("the model gave NaN or infinite logits.")
    values: Floats = values_B.cpu().numpy()
    return values
