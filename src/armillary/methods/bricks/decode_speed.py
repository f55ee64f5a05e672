"""Time of decoding one token at a time, dense against part of the FFNs: same process, same tokens, taking turns.

Legend: R rounds, S steps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache

from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval, bootstrap_mean

Array = NDArray[np.float64]
Arm = Callable[[], AbstractContextManager[Any]]
"""Makes the block inside which the model is timed."""

STEPS, WARM_UP, ROUNDS = 50, 5, 5


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
        found = bootstrap_mean(logs_R, seed=seed)
        low, high = (None if end is None else float(np.exp(end)) for end in (found.low, found.high))
        how = f"bootstrap over {found.n} rounds of {self.steps} steps" if low is not None else found.how
        return Interval(
            estimate=float(np.exp(found.estimate)), low=low, high=high, n=found.n, level=found.level, how=how
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: seconds a step of each arm, by round."""
        seconds = {name: values.tolist() for name, values in self.seconds_R.items()}
        return {"seconds_per_step": seconds, "steps": self.steps, "threads": self.threads}


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
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            with arms[name]():
                seconds[name].append(float(np.median(step_seconds(loaded, ids, steps, warm_up))))
    values = {name: np.array(found) for name, found in seconds.items()}
    return DecodeTimes(seconds_R=values, steps=steps, threads=torch.get_num_threads())


@torch.inference_mode()
def step_seconds(loaded: LoadedModel, ids: Sequence[int], steps: int, warm_up: int) -> Array:
    """Wall seconds of each of the last ``steps`` tokens as the model runs now, one forward a token, ``[S]``."""
    given = torch.tensor([list(ids)], device=loaded.device)
    cache = DynamicCache()
    first = given.shape[1] - steps - warm_up
    loaded.model(input_ids=given[:, :first], past_key_values=cache, use_cache=True, logits_to_keep=1)
    found = []
    for place in range(first, given.shape[1]):
        _wait(loaded)
        started = time.perf_counter()
        loaded.model(input_ids=given[:, place : place + 1], past_key_values=cache, use_cache=True)
        _wait(loaded)
        found.append(time.perf_counter() - started)
    return np.array(found[warm_up:])


def _wait(loaded: LoadedModel) -> None:
    """A GPU works on after the call returns."""
    if loaded.device.type == "cuda":
        torch.cuda.synchronize(loaded.device)
