"""Compare two models over an input space: pilot, windows, samples of each scored by the other."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import SIDES, Direction, Draws, Floats, Proposal, SequenceSource, Side, Tokens
from armillary.methods.modeldiff.result import Comparison
from armillary.methods.modeldiff.source import ModelSource, pair_of_sources
from armillary.methods.modeldiff.tempered_source import TemperedSource
from armillary.methods.modeldiff.window import as_draws, block_seed, drawn_pilot, numbers
from armillary.models.loaded import LoadedModel
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept


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
    sources, names, notes = pair_of_sources(a, b, space, config)
    seeds = seeds or {"a": 2 * config.seed, "b": 2 * config.seed + 1}
    given = space.bounds()
    pilot = None if given else drawn_pilot(sources, space, config, seeds, store)
    windows = given if pilot is None else dict(zip(sources, pilot.windows, strict=True))
    # A window is chosen by what a model writes of its own accord, whatever the samples are then drawn from.
    proposals = {side: _proposal(source, config) for side, source in sources.items()}
    directions: dict[Side, Direction] = {}
    with counted(f"Comparing {names[0]} with {names[1]}", 2 * config.samples) as bar:
        for side, other in SIDES:
            block = partial(_block, proposals[side], sources[side], sources[other], space, seeds[side])
            drawn = _joined(block, config, store, side, isinstance(proposals[side], TemperedSource), bar.advance)
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
        pilot=pilot,
        notes=notes,
        pieces=dict(zip(tokens, pieces(tokens), strict=True)) if pieces else {},
    )


def _proposal(source: SequenceSource, config: CompareConfig) -> Proposal:
    if config.proposal == "own":
        return source
    if not isinstance(source, ModelSource):
        raise UsageError("The tempered proposal draws from loaded models; give a TemperedSource of yours instead.")
    return TemperedSource.around(source, config)


def _joined(
    block: Callable[[int, int], Arrays],
    config: CompareConfig,
    store: Store | None,
    side: Side,
    whole: bool,
    advance: Callable[[int], None],
) -> Arrays:
    """All samples of one direction; each block (its number, its size) is kept as it is drawn."""
    # The ladders of one run hang together and give as many draws as they give: they are one block.
    most = config.samples if whole else config.block
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
    draws = as_draws(proposal.sample(size, seed=block_seed(seed, number)), space.length)
    arrays: Arrays = {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "rung": draws.rung_N}
    if draws.unit_N is not None:
        # Chains of one block are not those of another.
        arrays["unit"] = draws.unit_N + number * 2**32
    own_N, own_tokens = draws.nll_N, draws.token_nll_NL
    if own_N is None or (own_tokens is None and hasattr(own, "token_scores")):
        own_N, own_tokens = _score(own, draws.ids_NL)
    other_N, other_tokens = _score(other, draws.ids_NL)
    count = len(draws.ids_NL)
    arrays |= {"own": numbers(own_N, "drawing", count), "other": numbers(other_N, "other", count)}
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
