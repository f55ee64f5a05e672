"""What decoding one token costs, dense and with part of the FFNs: bytes from shapes, and seconds measured in turns.

Decoding one token at a time is bound by memory, so bytes are the floor of its time and their ratio the limit of a
speed-up. Legend: L layers, M neurons, E experts, R rounds, S steps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from armillary.errors import UsageError
from armillary.methods.bricks.experts.router import Router
from armillary.models import LoadedModel
from armillary.models.feed_forward import bias_O, feed_forward, weight_OI
from armillary.numerics.intervals import Array, Interval, bootstrap_mean


@dataclass(frozen=True, kw_only=True)
class DecodeCost:
    """Bytes of weights read for one token; the KV cache, which grows with the text, is not counted."""

    dense_ffn_bytes: float
    """All FFN matrices and biases."""

    read_ffn_bytes: float
    """Those of the neurons that are read."""

    router_bytes: float
    other_bytes: float
    """Attention, norms and the head; of an embedding that is not the head a single row, which is left out."""

    @property
    def speed_limit(self) -> float:
        """The most by which the whole model can get faster: all bytes, dense over read."""
        dense = self.dense_ffn_bytes + self.other_bytes
        return dense / (self.read_ffn_bytes + self.router_bytes + self.other_bytes)


def decode_cost(loaded: LoadedModel, neurons_share: float, router: Router | None = None) -> DecodeCost:
    """Cost of a token that reads this share of every layer's neurons: k / E, or ``Routing.neurons_share``.

    The router counts in the model's type; an oracle counts nothing, since it is no way to decode. UsageError for a
    share outside [0, 1], ModelError where an FFN is neither plain nor gated.
    """
    if not 0 <= neurons_share <= 1:
        raise UsageError(f"the share of neurons read must be 0 to 1; got {neurons_share}.")
    blocks = [feed_forward(loaded, layer) for layer in range(loaded.anatomy.num_layers)]
    neurons = sum(_bytes(weight_OI(matrix)) for block in blocks for matrix in block.matrices.values())
    neurons += sum(_bytes(bias_O(read)) for block in blocks for read in block.reads)
    fixed = sum(_bytes(bias_O(block.write)) for block in blocks)
    weights = 0 if router is None else router.weights_per_layer * len(blocks)
    return DecodeCost(
        dense_ffn_bytes=float(neurons + fixed),
        read_ffn_bytes=neurons * neurons_share + fixed,
        router_bytes=float(weights * loaded.anatomy.embedding.weight.element_size()),
        other_bytes=float(dense_bytes(loaded) - neurons - fixed),
    )


def dense_bytes(loaded: LoadedModel) -> int:
    """Bytes of weights that the dense model reads for a token, but for the one row of an embedding that is not the
    head."""
    embeddings = {id(module.weight) for module in loaded.model.modules() if isinstance(module, nn.Embedding)}
    looked_up = embeddings - {id(loaded.anatomy.head.weight)}
    return sum(_bytes(parameter) for parameter in loaded.model.parameters() if id(parameter) not in looked_up)


def _bytes(values: Tensor | None) -> int:
    return 0 if values is None else values.numel() * values.element_size()


Arm = Callable[[], AbstractContextManager[Any]]
"""Makes the block inside which the model is timed."""

STEPS, WARM_UP, ROUNDS = 50, 5, 5
"""Steps timed in a round after some that fill caches and allocator, and rounds: more of each narrow the interval and
cost time in proportion."""


@dataclass(frozen=True, kw_only=True)
class DecodeTimes:
    """Median time of a step, round by round, of arms that took turns."""

    seconds_R: Mapping[str, Array]
    steps: int
    threads: int

    def ratio(self, slower: str, faster: str, *, seed: int = 0) -> Interval:
        """Time of a step of one arm over another's: geometric mean over rounds, with its bootstrap interval.

        Above 1 where ``faster`` is. UsageError for an arm that was not timed.
        """
        for name in (slower, faster):
            if name not in self.seconds_R:
                raise UsageError(f"{name!r} was not timed; {', '.join(self.seconds_R)} were.")
        logs_R = np.log(self.seconds_R[slower] / self.seconds_R[faster])
        log = bootstrap_mean(logs_R, seed=seed)
        low, high = (None if end is None else float(np.exp(end)) for end in (log.low, log.high))
        how = f"bootstrap over {log.n} rounds of {self.steps} steps" if low is not None else log.how
        return Interval(estimate=float(np.exp(log.estimate)), low=low, high=high, n=log.n, level=log.level, how=how)


def decode_times(
    loaded: LoadedModel,
    ids: Sequence[int],
    arms: Mapping[str, Arm],
    *,
    steps: int = STEPS,
    warm_up: int = WARM_UP,
    rounds: int = ROUNDS,
) -> DecodeTimes:
    """Times of the arms, each of which decodes the last ``steps + warm_up`` tokens of ``ids`` after the others.

    The tokens are given, so all arms work with the same KV cache; the beginning is read outside the clock, by the arm
    itself. Arms change places from round to round. UsageError for too few tokens, no arms or no rounds.
    """
    if len(ids) <= steps + warm_up or min(steps, rounds) < 1 or not arms:
        raise UsageError(
            f"timing {steps} steps after {warm_up} needs more tokens than that, an arm and a round; "
            f"got {len(ids)} tokens, {len(arms)} arms, {rounds} rounds."
        )
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(rounds):
        for step in range(len(names)):
            name = names[(turn + step) % len(names)]
            with arms[name]():
                seconds[name].append(float(np.median(step_seconds(loaded, ids, steps, warm_up))))
    seconds_R = {name: np.array(medians) for name, medians in seconds.items()}
    return DecodeTimes(seconds_R=seconds_R, steps=steps, threads=torch.get_num_threads())


@torch.inference_mode()
def step_seconds(loaded: LoadedModel, ids: Sequence[int], steps: int, warm_up: int) -> Array:
    """Wall seconds of each of the last ``steps`` tokens as the model runs now, one forward a token, ``[S]``."""
    ids_1T = torch.tensor([list(ids)], device=loaded.device)
    cache = DynamicCache()
    first = ids_1T.shape[1] - steps - warm_up
    loaded.model(input_ids=ids_1T[:, :first], past_key_values=cache, use_cache=True, logits_to_keep=1)
    seconds = []
    for position in range(first, ids_1T.shape[1]):
        _wait(loaded)
        started = time.perf_counter()
        loaded.model(input_ids=ids_1T[:, position : position + 1], past_key_values=cache, use_cache=True)
        _wait(loaded)
        seconds.append(time.perf_counter() - started)
    return np.array(seconds[warm_up:])


def _wait(loaded: LoadedModel) -> None:
    """A GPU works on after the call returns."""
    if loaded.device.type == "cuda":
        torch.cuda.synchronize(loaded.device)
