"""Compare two models over an input space: pilot, windows, samples of each scored by the other."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.core import SIDES, Direction, Draws, Floats, Proposal, SequenceSource, Side, Tokens
from armillary.methods.modeldiff.result import Comparison
from armillary.methods.modeldiff.source import ModelSource, pair_of_sources
from armillary.methods.modeldiff.tempered_source import TemperedSource
from armillary.models.loaded import LoadedModel
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept

PILOT_QUANTILES = (0.05, 0.5)
"""Edges of the window that a pilot chooses; the median keeps enough samples near the edge, where the weights are."""

LEAST_TEXTS = 20
"""Human texts that choose a window: with fewer the 5 % quantile rests on the very lowest alone."""


def compare(
    a: LoadedModel | SequenceSource,
    b: LoadedModel | SequenceSource,
    space: InputSpace | None = None,
    config: CompareConfig | None = None,
    *,
    store: Store | None = None,
    seeds: Mapping[Side, int] | None = None,
    **settings: Any,
) -> Comparison:
    """Count the inputs on which two models disagree, by how much, in both directions.

    ``a`` and ``b`` are loaded models of one vocabulary, or anything with ``score`` and ``sample``; ``settings`` are
    fields of ``CompareConfig``, as in ``compare(a, b, samples=512)``. ``store`` (such as ``Parts.arrays``) keeps
    blocks of samples as they are drawn; ``seeds`` gives each side its own seed (by default both follow from
    ``config.seed``). Raises UsageError for different vocabularies or settings out of range, NumericError where a model
    gives no numbers or the chains of the tempered proposal did not mix.
    """
    space, config = space or InputSpace(), config or CompareConfig(**settings)
    sources, names = pair_of_sources(a, b, space, config)
    seeds = seeds or {"a": 2 * config.seed, "b": 2 * config.seed + 1}
    given = space.bounds()
    windows: dict[Side, Bounds] = {
        side: given[side] if given else pilot_window(source, space, config, seeds[side], store, f"{side} pilot")
        for side, source in sources.items()
    }
    # A window is chosen by what a model writes of its own accord, whatever the samples are then drawn from.
    proposals = {side: _proposal(source, config) for side, source in sources.items()}
    directions: dict[Side, Direction] = {}
    with counted(f"Comparing {names[0]} with {names[1]}", 2 * config.samples) as bar:
        for side, other in SIDES:
            block = partial(_block, proposals[side], sources[side], sources[other], space, seeds[side])
            drawn = _joined(block, config, store, side, bar.advance)
            directions[side] = Direction.from_draws(
                Draws(ids_NL=drawn["ids"], log_q_KN=drawn["log_q"], rung_N=drawn["rung"], unit_N=drawn.get("unit")),
                side=side,
                window=windows[side],
                other_window=windows[other],
                own_N=drawn["own"],
                other_N=drawn["other"],
                own_tokens_NL=drawn.get("own_tokens"),
                other_tokens_NL=drawn.get("other_tokens"),
                text_N=drawn.get("texts"),
            )
    pieces = getattr(sources["a"], "pieces", None)
    tokens = np.unique(np.concatenate([direction.ids_NL.reshape(-1) for direction in directions.values()])).tolist()
    return Comparison(
        names=names,
        space=space,
        config=config,
        a=directions["a"],
        b=directions["b"],
        seeds=(seeds["a"], seeds["b"]),
        pieces=dict(zip(tokens, pieces(tokens), strict=True)) if pieces else {},
    )


def pilot_window(
    source: SequenceSource,
    space: InputSpace,
    config: CompareConfig,
    seed: int,
    store: Store | None = None,
    part: str = "pilot",
) -> Bounds:
    """The 5 % quantile and the median of the NLL (nats) of a pilot drawn at temperature 1 with a seed of its own.

    Where the pilot has several temperatures, only the sequences drawn at 1 count. ``part`` names it in the ``store``.
    """

    def draw() -> Arrays:
        draws = as_draws(source.sample(config.pilot, seed=_block_seed(seed, -1)), space.length)
        nll_N = draws.nll_N if draws.nll_N is not None else source.score(draws.ids_NL)
        plain = np.isclose(draws.log_q_KN[draws.rung_N, np.arange(len(nll_N))], -nll_N, atol=1e-3)
        return {"nll": nll_N[plain] if plain.any() else nll_N}

    low, high = np.quantile(_numbers(kept(store, part, draw)["nll"], "pilot"), PILOT_QUANTILES)
    # A model with one value only (a uniform one) still gets a window around it.
    return float(low - 1e-6 * (1 + abs(low))), float(high + 1e-6 * (1 + abs(high)))


def text_window(source: ModelSource, texts: list[str]) -> Bounds:
    """The 5 % and 95 % quantiles of the NLL (nats) of human texts cut to the length of the space.

    Raises UsageError where fewer than 20 texts are long enough.
    """
    rows = [source.loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    long_enough = [row[: source.length] for row in rows if len(row) >= source.length]
    if len(long_enough) < LEAST_TEXTS:
        raise UsageError(
            f"A window needs {LEAST_TEXTS} texts of {source.length} tokens or more; {len(long_enough)} are as long."
        )
    low, high = np.quantile(source.score(np.array(long_enough)), [0.05, 0.95])
    return float(low), float(high)


def as_draws(drawn: Draws | tuple[Any, Any], length: int) -> Draws:
    """What a proposal gave, checked. Raises NumericError or UsageError where it is not what it should be."""
    draws = drawn if isinstance(drawn, Draws) else Draws.single(*drawn)
    if draws.ids_NL.ndim != 2 or draws.ids_NL.shape[1] != length:
        raise UsageError(f"sample must give sequences of {length} tokens, got shape {draws.ids_NL.shape}.")
    own_N = draws.log_q_KN[draws.rung_N, np.arange(len(draws.ids_NL))]
    if not np.isfinite(own_N).all():
        raise NumericError(
            "A sequence was drawn with log-probability "
            f"{own_N[~np.isfinite(own_N)][0]}: what is drawn must have a finite one under its own proposal."
        )
    return draws


def _proposal(source: SequenceSource, config: CompareConfig) -> Proposal:
    if config.proposal == "own":
        return source
    if not isinstance(source, ModelSource):
        raise UsageError("The tempered proposal draws from loaded models; give a TemperedSource of yours instead.")
    return TemperedSource.around(source, config)


def _block_seed(seed: int, block: int) -> int:
    return int(np.random.SeedSequence([seed, block + 1]).generate_state(1)[0])


def _joined(
    block: Callable[[int, int], Arrays],
    config: CompareConfig,
    store: Store | None,
    side: Side,
    advance: Callable[[int], None],
) -> Arrays:
    """All samples of one direction; each block (its number, its size) is kept as it is drawn."""
    # The ladders of one run hang together and give as many draws as they give: they are one block.
    most = config.block if config.proposal == "own" else config.samples
    arrays = []
    for number, start in enumerate(range(0, config.samples, most)):
        size = min(most, config.samples - start)
        arrays.append(kept(store, f"{side} samples {number}", partial(block, number, size)))
        advance(size)
    return {
        name: np.concatenate([block[name] for block in arrays], axis=-1 if name == "log_q" else 0)
        for name in arrays[0]
    }


def _block(
    proposal: Proposal,
    own: SequenceSource,
    other: SequenceSource,
    space: InputSpace,
    seed: int,
    number: int,
    size: int,
) -> Arrays:
    """``size`` samples of one direction, scored by both models."""
    draws = as_draws(proposal.sample(size, seed=_block_seed(seed, number)), space.length)
    arrays: Arrays = {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "rung": draws.rung_N}
    if draws.unit_N is not None:
        # Chains of one block are not those of another.
        arrays["unit"] = draws.unit_N + number * 2**32
    own_N, own_tokens = draws.nll_N, draws.token_nll_NL
    if own_N is None or (own_tokens is None and hasattr(own, "token_scores")):
        own_N, own_tokens = _score(own, draws.ids_NL)
    other_N, other_tokens = _score(other, draws.ids_NL)
    arrays |= {"own": _numbers(own_N, "drawing"), "other": _numbers(other_N, "other")}
    if own_tokens is not None and other_tokens is not None:
        arrays |= {"own_tokens": own_tokens.astype(np.float32), "other_tokens": other_tokens.astype(np.float32)}
    texts = getattr(own, "texts", None)
    # NumPy drops trailing NULs of fixed-width text; none of our texts ends in one that matters.
    return arrays | ({"texts": np.array(texts(draws.ids_NL))} if texts else {})


def _score(source: SequenceSource, ids_NL: Tokens) -> tuple[Floats, Floats | None]:
    by_token = getattr(source, "token_scores", None)
    if by_token is None:
        return np.asarray(source.score(ids_NL), dtype=np.float64), None
    tokens_NL: Floats = by_token(ids_NL)
    return tokens_NL.sum(axis=1), tokens_NL


def _numbers(nll: Any, which: str) -> Floats:
    nll_N: Floats = np.asarray(nll, dtype=np.float64)
    if np.isnan(nll_N).any() or (nll_N == -np.inf).any():
        raise NumericError(
            f"The {which} model gave an NLL that is no number for {int(np.isnan(nll_N).sum())} sequences."
        )
    return nll_N
