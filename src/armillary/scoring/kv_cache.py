"""A key-value cache that grows in place: new tokens are written into spare room instead of copying all the old ones.

Every attention layer keeps all its tokens, those with a sliding window too (the model's mask applies the window), so
that cropping back is always possible and only moves the end of a view: branching from a stem costs no copy. Endings
that share their first tokens are such branches: ``token_tree`` orders them so that each shared run is computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from armillary.errors import ModelError
from armillary.models.anatomy import evaluating
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel


class GrowingLayer(DynamicLayer):
    """Keys and values ``[b, heads, tokens, size]`` as views of a buffer that doubles when it is full."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the new states; the returned views are valid until the next crop and update."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, new = self.get_seq_length(), key_states.shape[-2]
        room = self._room
        if room is None or room[0].shape[-2] < old + new:
            room = (self._larger(self.keys, key_states, old), self._larger(self.values, value_states, old))
            self._room = room
        self.keys, self.values = room[0][:, :, : old + new], room[1][:, :, : old + new]
        self.keys[:, :, old:] = key_states
        self.values[:, :, old:] = value_states
        return self.keys, self.values

    def select(self, rows_B: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may come several times."""
        if self._room is not None:
            used = self.get_seq_length()
            self._hold(*(held[:, :, :used].index_select(0, rows_B) for held in self._room))

    def move(self, slots_BS: Tensor) -> None:
        """Slot ``s`` of each row becomes what slot ``slots[b, s]`` holds now; the cache gets as wide as ``slots``."""
        if self._room is not None:
            self._hold(*(self._moved(room, slots_BS) for room in self._room))

    def copy(self, rows_B: Tensor | None = None) -> "GrowingLayer":
        """The same states with room of their own; with ``rows`` as after ``select``."""
        other = GrowingLayer()
        if self._room is not None:
            used = self.get_seq_length()
            keys, values = (held[:, :, :used] for held in self._room)
            other.lazy_initialization(keys, values)
            if rows_B is not None:
                keys, values = keys.index_select(0, rows_B), values.index_select(0, rows_B)
            other._hold(keys, values)
        return other

    def _hold(self, keys: Tensor, values: Tensor) -> None:
        """These states alone, with room to grow."""
        used = keys.shape[2]
        self._room = (self._larger(keys, keys, used), self._larger(values, values, used))
        self.keys, self.values = self._room[0][:, :, :used], self._room[1][:, :, :used]

    @staticmethod
    def _moved(room: Tensor, slots_BS: Tensor) -> Tensor:
        """Copied vector by vector, ten times as fast as ``gather``, which goes number by number."""
        rows, heads, capacity, size = room.shape
        firsts_BH1 = torch.arange(0, rows * heads * capacity, capacity, device=room.device).view(rows, heads, 1)
        index = (firsts_BH1 + slots_BS[:, None, :]).flatten()
        return room.view(-1, size).index_select(0, index).view(rows, heads, -1, size)

    @staticmethod
    def _larger(held: Tensor | None, like: Tensor, used: int) -> Tensor:
        rows = held.shape[0] if held is not None and used else like.shape[0]
        capacity = max(2 * used, used + like.shape[-2] + 8)
        room = torch.empty((rows, like.shape[1], capacity, like.shape[-1]), dtype=like.dtype, device=like.device)
        if held is not None and used:
            room[:, :, :used] = held
        return room


def growing_cache() -> Cache:
    """An empty cache for one batch."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def select_rows(cache: Cache, rows_B: Tensor) -> None:
    """Keep these rows of the batch in every layer of a ``growing_cache``."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.select(rows_B)


def move_slots(cache: Cache, slots_BS: Tensor) -> None:
    """In every layer of a ``growing_cache``, slot ``s`` of each row becomes what slot ``slots[b, s]`` holds now."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.move(slots_BS)


def copy_cache(cache: Cache, rows_B: Tensor | None = None) -> Cache:
    """A ``growing_cache`` with the same states, which can be changed without changing the first.

    With ``rows`` it holds these rows of the batch, in this order; a row may come several times.
    """
    other = growing_cache()
    other.layers = [layer.copy(rows_B) for layer in cache.layers if isinstance(layer, GrowingLayer)]
    return other


# Whether a model really reads such a cache: a few tokens with it and without. An architecture may take a cache and
# leave it empty (RWKV, GPT-1), keep a state that can't be cut back, or place tokens wrongly once rows are padded.

_TOKENS, _SMALL_WINDOW = 8, 64
_FAULTS: WeakKeyDictionary[PreTrainedModel, dict[bool, str | None]] = WeakKeyDictionary()
"""What was found of each model, for unpadded and padded rows: an architecture does not change with its weights."""


def is_cacheable(loaded: LoadedModel, *, padded: bool = False) -> bool:
    """True where the model gives the same states with a ``growing_cache`` as without: in steps and longer runs, after
    cutting back, with rows chosen anew; with ``padded`` also for rows padded at the left. Checked once a model.
    """
    return _fault(loaded, padded) is None


def require_cache(loaded: LoadedModel, purpose: str, *, padded: bool = False) -> None:
    """ModelError naming the architecture where the model is not cacheable; ``purpose`` is what needs a cache."""
    fault = _fault(loaded, padded)
    if fault is not None:
        raise ModelError(
            f"{loaded.name} ({type(loaded.model).__name__}) does not keep its past in a key-value cache ({fault}); "
            f"{purpose} needs one, as Llama, Gemma, Qwen and GPT-NeoX have."
        )


def _fault(loaded: LoadedModel, padded: bool) -> str | None:
    """What differs with a cache, in words, or None."""
    known = _FAULTS.setdefault(loaded.model, {})
    if padded not in known:
        known[padded] = _fault(loaded, False) if padded else None
        try:
            if known[padded] is None:
                with evaluating(loaded.model), torch.inference_mode():
                    (_padded_rows if padded else _plain_rows)(loaded, _ids(loaded))
        except _Differs as difference:
            known[padded] = str(difference)
        except Exception:  # an architecture may raise anything for a cache of another kind than its own
            known[padded] = "it takes none that is cut back token by token"
    return known[padded]


class _Differs(Exception):
    """Which use of the cache changes the states."""


def same_states(made: Tensor, own: Tensor) -> bool:
    """True where the two are the same token by token, up to rounding.

    Half precision rounds every layer's states and may send a token to other experts, so half of the tokens decide
    there; a wrong past changes all, by about their size. Where the model's own
    are no numbers it is true: that is another fault, which scoring names with its text.
    """
    if made.shape != own.shape:
        return False
    wide = torch.float64 if own.device.type != "mps" else torch.float32
    truth, error = own.to(wide), made.to(wide) - own.to(wide)
    exact = own.dtype in (torch.float32, torch.float64)
    # Of each token by itself: the first tokens of a text are often far larger than the others.
    apart = error.norm(dim=-1) / truth.norm(dim=-1).clamp_min(1e-30)
    worst = apart.max() if exact else apart.median()
    return not bool(torch.isfinite(truth).all()) or bool(worst <= (1e-4 if exact else 0.1))


def _same(with_cache: Tensor, without: Tensor, use: str) -> None:
    """Raises _Differs."""
    if not same_states(with_cache, without):
        raise _Differs(f"other states {use}")


def _ids(loaded: LoadedModel) -> Tensor:
    """Three rows of different tokens; longer than a window that is small."""
    window = getattr(loaded.model.config.get_text_config(), "sliding_window", None)
    tokens = window + 3 if isinstance(window, int) and _TOKENS <= window + 2 < _SMALL_WINDOW else _TOKENS
    tokens = min(tokens, loaded.max_positions or tokens)
    size = min(loaded.anatomy.vocabulary_size, loaded.anatomy.embedding.num_embeddings)
    return (torch.arange(1, 3 * tokens + 1, device=loaded.device) * 7919 % size).view(3, tokens)


def _plain_rows(loaded: LoadedModel, ids_BT: Tensor) -> None:
    end, mixed_BT = ids_BT.shape[1], torch.cat([ids_BT[:, :-3], ids_BT[[1, 2, 0], -3:]], dim=1)
    whole_BTD, mixed_BTD = run_body(loaded, torch.cat([ids_BT, mixed_BT])).chunk(2)
    cache = growing_cache()
    _same(run_body(loaded, ids_BT[:, : end - 4], cache=cache), whole_BTD[:, : end - 4], "while it is filled")
    if cache.get_seq_length() != end - 4:
        raise _Differs("it stays empty")
    _same(run_body(loaded, ids_BT[:, [end - 4]], cache=cache), whole_BTD[:, [end - 4]], "after one more token")
    _same(run_body(loaded, ids_BT[:, end - 3 :], cache=cache), whole_BTD[:, end - 3 :], "after several more tokens")
    cache.crop(-3)
    chosen = torch.tensor([2, 0, 2], device=ids_BT.device)
    select_rows(cache, chosen)
    for used, steps in ((copy_cache(cache), slice(end - 3, end - 2)), (cache, slice(end - 3, end))):
        with_cache = run_body(loaded, mixed_BT[chosen, steps], cache=used)
        _same(with_cache, mixed_BTD[chosen, steps], "after it is cut back and its rows are chosen")
    _same(run_body(loaded, ids_BT), whole_BTD, "after it was used")


def _padded_rows(loaded: LoadedModel, ids_BT: Tensor) -> None:
    """A row that is two tokens shorter than the others: padded at the left, then the same states moved there."""
    gap, end = 2, ids_BT.shape[1] - 2
    alone_BTD, short_BTD = run_body(loaded, ids_BT), run_body(loaded, ids_BT[:1, gap:])
    expected_B1D = torch.cat([short_BTD[:, end - gap : end - gap + 1], alone_BTD[1:, end : end + 1]])
    last_BT = torch.cat([ids_BT[:1, end : end + 1], ids_BT[1:, end : end + 1]])
    mask_BS = torch.ones((len(ids_BT), end + 1), dtype=torch.long, device=ids_BT.device)
    mask_BS[0, :gap] = 0
    cache = growing_cache()
    run_body(loaded, ids_BT[:, :end], mask_BS[:, :end], cache=cache)
    _same(run_body(loaded, last_BT, mask_BS, cache=cache), expected_B1D, "behind padding")
    cache = growing_cache()
    right_BT = torch.cat([ids_BT[:1, gap:end], ids_BT[:1, :gap]], dim=1)
    moved_BT, right_BS = torch.cat([right_BT, ids_BT[1:, :end]]), mask_BS[:, :end].sort(1, descending=True)[0]
    run_body(loaded, moved_BT, right_BS, cache=cache)
    slots_BS = torch.arange(end, device=ids_BT.device).repeat(len(ids_BT), 1)
    slots_BS[0] = (slots_BS[0] - gap).clamp_min(0)
    move_slots(cache, slots_BS)
    _same(run_body(loaded, last_BT, mask_BS, cache=cache), expected_B1D, "after it is moved")


@dataclass(frozen=True, kw_only=True)
class TokenTree:
    """A run of tokens, the endings that stop after it, and the branches that go on from it."""

    run: tuple[int, ...]
    ends: tuple[int, ...]
    """Indices of the endings whose last token is the last of ``run``."""

    branches: tuple["TokenTree", ...] = field(default=())

    def cost(self) -> int:
        """Tokens computed for a whole walk."""
        return len(self.run) + sum(branch.cost() for branch in self.branches)


def token_tree(endings: Mapping[int, Sequence[int]]) -> TokenTree:
    """The tree of these endings (index -> tokens); the root's run is what all of them begin with, maybe nothing."""
    run = common_beginning(list(endings.values()))
    ends = tuple(index for index, tokens in endings.items() if len(tokens) == len(run))
    groups: dict[int, dict[int, Sequence[int]]] = {}
    for index, tokens in endings.items():
        if len(tokens) > len(run):
            groups.setdefault(tokens[len(run)], {})[index] = tokens[len(run) :]
    return TokenTree(run=run, ends=ends, branches=tuple(token_tree(group) for group in groups.values()))


def common_beginning(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens with which all rows begin."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return tuple(shared)
