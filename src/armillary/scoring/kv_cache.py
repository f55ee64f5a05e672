"""A key-value cache that grows in place: new tokens are written into spare room instead of copying all the old ones.

Every attention layer keeps all its tokens, those with a sliding window too (the model's mask applies the window), so
that cropping back is always possible and only moves the end of a view: branching from a stem costs no copy. Endings
that share their first tokens are such branches: ``token_tree`` orders them so that each shared run is computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer


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
            index = slots_BS[:, None, :, None]
            self._hold(*(room.gather(2, index.expand(-1, room.shape[1], -1, room.shape[3])) for room in self._room))

    def copy(self) -> "GrowingLayer":
        """The same states with room of their own."""
        other = GrowingLayer()
        if self._room is not None:
            used = self.get_seq_length()
            keys, values = (held[:, :, :used] for held in self._room)
            other.lazy_initialization(keys, values)
            other._hold(keys, values)
        return other

    def _hold(self, keys: Tensor, values: Tensor) -> None:
        """These states alone, with room to grow."""
        used = keys.shape[2]
        self._room = (self._larger(keys, keys, used), self._larger(values, values, used))
        self.keys, self.values = self._room[0][:, :, :used], self._room[1][:, :, :used]

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


def copy_cache(cache: Cache) -> Cache:
    """A ``growing_cache`` with the same states, which can be changed without changing the first."""
    other = growing_cache()
    other.layers = [layer.copy() for layer in cache.layers if isinstance(layer, GrowingLayer)]
    return other


def is_cacheable(model: PreTrainedModel) -> bool:
    """False for models with recurrent state, whose past can't be cut back token by token."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
    return all(kind.endswith("_attention") and not kind.startswith("linear") for kind in kinds)


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
