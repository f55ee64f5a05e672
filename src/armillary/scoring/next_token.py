"""Logits of the next token for many prompts, over the whole vocabulary or a chosen part of it.

Only the last position goes through the head, and only the chosen rows of the head are multiplied: neither
``[prompts, length, vocabulary]`` nor, with ``token_ids``, ``[prompts, vocabulary]`` is ever stored.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.models.loaded import LoadedModel
from armillary.progress import counted
from armillary.scoring.kv_cache import TokenTree, growing_cache, is_cacheable, token_tree


@torch.inference_mode()
def next_token_logits(
    loaded: LoadedModel,
    prompts: Sequence[str],
    token_ids: Sequence[int] | None = None,
    *,
    batch_tokens: int = 2048,
    label: str | None = None,
) -> NDArray[np.float32]:
    """Raw logits of the token after each prompt, float32 ``[prompts, len(token_ids)]``, in the order given.

    Prompts are tokenised whole, with what precedes them, and batched by equal length, so nothing is padded. With
    ``token_ids=None`` the columns are all rows of the head, those that are no token too. ``label`` names a progress
    bar. Raises ``UsageError`` for a token id outside the vocabulary or a prompt without tokens, ``NumericError``
    naming the prompt whose logits are not finite.
    """
    rows = encode(loaded, prompts)
    chosen = None if token_ids is None else column_ids(loaded, token_ids)
    width = loaded.anatomy.vocabulary_size if chosen is None else len(chosen)
    out = np.empty((len(rows), width), dtype=np.float32)
    with counted(label, len(rows)) as bar:
        for batch in equal_length_batches(rows, batch_tokens):
            ids_BT = torch.tensor([rows[index] for index in batch], device=loaded.device)
            logits_BM = loaded.anatomy.logits(run_body(loaded, ids_BT)[:, -1], chosen)
            out[batch] = finite(logits_BM, [prompts[index] for index in batch])
            bar.advance(len(batch))
    return out


def column_ids(loaded: LoadedModel, token_ids: Sequence[int]) -> Tensor:
    """The ids as a tensor on the model's device; ``UsageError`` if one is outside the vocabulary."""
    size = loaded.anatomy.vocabulary_size
    outside = [token for token in token_ids if not 0 <= token < size]
    if outside:
        raise UsageError(f"Token id {outside[0]} is outside the vocabulary; ids from 0 to {size - 1} are accepted.")
    return torch.tensor(list(token_ids), dtype=torch.long, device=loaded.device)


def finite(logits_BM: Float[Tensor, "b m"], prompts: Sequence[str]) -> NDArray[np.float32]:
    """The logits as float32 on the host; ``NumericError`` naming the first prompt whose logits are not finite."""
    values: NDArray[np.float32] = logits_BM.float().cpu().numpy()
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        raise NumericError(f"The model gave NaN or infinite logits after the prompt {prompts[int(good.argmin())]!r}.")
    return values


# Many stems with many endings, each stem computed once.
#
# "Anna lives in the city of", "Anna lives in the country of" and "Anna speaks the language of" share the stem "Anna"
# and, two of them, " lives in the". The stem's tokens fill a key-value cache; the tree of the endings' tokens is
# walked depth first and the cache is cut back between branches, which moves the end of a view and copies nothing.

Tokens = tuple[int, ...]
Visit = Callable[[int, Tensor], None]


@torch.inference_mode()
def branch_logits(
    loaded: LoadedModel,
    stems: Sequence[str],
    endings: Sequence[str],
    token_ids: Sequence[Sequence[int]],
    *,
    batch_size: int = 256,
    log_probabilities: bool = False,
    label: str | None = None,
) -> list[NDArray[np.float32]]:
    """For ending ``k`` the raw logits, float32 ``[stems, len(token_ids[k])]``, of the token after ``stem + ending``.

    Equal to ``next_token_logits`` on the joined prompts up to rounding. A stem holds everything before the ending,
    text before the slot included ("The color of JB"). Whole prompts are tokenised: where a prompt's tokens are not
    those of its stem followed by those the ending has in most prompts, that prompt is computed whole. With
    ``log_probabilities`` the values are nats over all tokens instead. ``label`` names a progress bar over
    stems. Raises ``UsageError`` for unequal numbers of endings and token lists, ``NumericError`` naming a prompt whose
    logits are not finite.
    """
    if len(endings) != len(token_ids):
        raise UsageError(f"{len(endings)} endings came with {len(token_ids)} lists of token ids; give one list each.")
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}.")
    anatomy, columns = loaded.anatomy, [column_ids(loaded, ids) for ids in token_ids]
    values = [np.empty((len(stems), len(ids)), dtype=np.float32) for ids in token_ids]

    def put(rows: Sequence[int], ending: int, hidden_BD: Tensor) -> None:
        """Keep what the head makes of the hidden states after these stems with this ending."""
        prompts = [stems[row] + endings[ending] for row in rows]
        values[ending][rows] = finite(anatomy.logits(hidden_BD, columns[ending]), prompts)
        if log_probabilities:
            # Whole-vocabulary rows are large: at most about 64 MB of them at a time.
            step = max(1, 2**24 // anatomy.vocabulary_size)
            pieces = (loaded.masked(anatomy.logits(part).float()) for part in hidden_BD.split(step))
            parts = [piece.logsumexp(-1, keepdim=True) for piece in pieces]
            values[ending][rows] -= finite(torch.cat(parts), prompts)
            for column in np.flatnonzero(np.isin(token_ids[ending], loaded.nameless_ids)):
                values[ending][rows, column] = -np.inf

    plan = _plan(loaded, stems, endings)
    with counted(label, len(plan.groups)) as bar:
        for tree, batch in plan.batches(batch_size):
            cache = growing_cache()
            stem_BT = torch.tensor([plan.stem_tokens[stem] for stem in batch], device=loaded.device)
            # The run that all endings begin with is appended to the stems: one forward less, and nothing to cut back.
            shared_BT = torch.tensor([tree.run], dtype=torch.long, device=loaded.device).expand(len(batch), -1)
            hidden_BTD = run_body(loaded, torch.cat([stem_BT, shared_BT], dim=1), cache=cache)
            _descend(loaded, tree, hidden_BTD[:, -1], cache, partial(put, batch))
            bar.advance(len(batch))
    # Prompts that do not split at their stem, each computed from its first token.
    alike: dict[tuple[int, int], list[int]] = {}
    for (stem, ending), tokens in plan.whole.items():
        alike.setdefault((ending, len(tokens)), []).append(stem)
    for (ending, _), members in sorted(alike.items()):
        for start in range(0, len(members), batch_size):
            rows = members[start : start + batch_size]
            ids_BT = torch.tensor([plan.whole[row, ending] for row in rows], device=loaded.device)
            put(rows, ending, run_body(loaded, ids_BT)[:, -1])
    return values


@dataclass(frozen=True)
class _Plan:
    """Which stem walks which endings, and which prompts are computed whole."""

    stem_tokens: list[Tokens]
    groups: dict[int, Tokens]
    """Stem index -> indices of its endings that can be walked from its cache."""

    tails: list[Tokens]
    """Tokens of each ending after a stem."""

    whole: dict[tuple[int, int], Tokens]
    """(stem, ending) -> tokens of the whole prompt."""

    def batches(self, batch_size: int) -> list[tuple[TokenTree, list[int]]]:
        """Stems of equal length that walk the same tree, at most ``batch_size`` of them."""
        alike: dict[tuple[int, Tokens], list[int]] = {}
        for stem, walked in self.groups.items():
            alike.setdefault((len(self.stem_tokens[stem]), walked), []).append(stem)
        out = []
        for (_, walked), members in sorted(alike.items()):
            tree = token_tree({ending: self.tails[ending] for ending in walked})
            out += [(tree, members[start : start + batch_size]) for start in range(0, len(members), batch_size)]
        return out


def _plan(loaded: LoadedModel, stems: Sequence[str], endings: Sequence[str]) -> _Plan:
    stem_tokens = [tuple(row) for row in encode(loaded, stems, least=0)]
    walkable = is_cacheable(loaded)
    tails: list[Tokens] = []
    walked: dict[int, list[int]] = {}
    whole: dict[tuple[int, int], Tokens] = {}
    for index, ending in enumerate(endings):
        prompts = [tuple(row) for row in encode(loaded, [stem + ending for stem in stems])]
        rests = [
            prompt[len(stem) :] if walkable and stem and prompt[: len(stem)] == stem else None
            for stem, prompt in zip(stem_tokens, prompts, strict=True)
        ]
        # On a tie the shorter, then the smaller tokens win, so that the order of the stems does not matter.
        counts = Counter(rest for rest in rests if rest is not None)
        tail = min(counts, key=lambda rest: (-counts[rest], len(rest), rest)) if counts else ()
        tails.append(tail)
        for stem_index, (rest, prompt) in enumerate(zip(rests, prompts, strict=True)):
            if rest == tail:
                walked.setdefault(stem_index, []).append(index)
            else:
                whole[stem_index, index] = prompt
    groups = {stem: tuple(indices) for stem, indices in sorted(walked.items())}
    return _Plan(stem_tokens=stem_tokens, groups=groups, tails=tails, whole=whole)


def _descend(loaded: LoadedModel, node: TokenTree, hidden_BD: Tensor, cache: Cache, visit: Visit) -> None:
    """Report the endings that stop here, then walk each branch and cut the cache back after it."""
    for ending in node.ends:
        visit(ending, hidden_BD)
    for branch in node.branches:
        run_BT = torch.tensor([branch.run], device=loaded.device).expand(hidden_BD.shape[0], -1)
        below_BTD = run_body(loaded, run_BT, cache=cache)
        _descend(loaded, branch, below_BTD[:, -1], cache, visit)
        cache.crop(-len(branch.run))
