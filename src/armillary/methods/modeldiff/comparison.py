"""Compare two models over an input space: pilot, windows, samples of each scored by the other."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.core import SIDES, Direction, Side
from armillary.methods.modeldiff.result import Comparison
from armillary.methods.modeldiff.source import Draws, Floats, ModelSource, SequenceSource, Tokens, same_vocabulary
from armillary.models.loaded import LoadedModel
from armillary.progress import counted

Arrays = dict[str, Any]
Store = Callable[[str, Callable[[], Arrays]], Arrays]
"""Keeps the arrays of a name, computed once: ``Parts.arrays`` of a run, so that a killed run goes on."""

PILOT_QUANTILES = (0.05, 0.5)
"""Edges of the window that a pilot chooses; the median keeps enough samples near the edge, where the weights are."""


def _unkept(_: str, compute: Callable[[], Arrays]) -> Arrays:
    return compute()


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
    fields of ``CompareConfig``, as in ``compare(a, b, n_samples=512)``. ``store`` keeps blocks of samples as they are
    drawn; ``seeds`` gives each side its own seed (by default both follow from ``config.seed``). Raises UsageError for
    different vocabularies or settings out of range, NumericError where a model gives no numbers.
    """
    space, config = space or InputSpace(), config or CompareConfig(**settings)
    sources, names = _sources(a, b, space, config)
    seeds = seeds or {"a": 2 * config.seed, "b": 2 * config.seed + 1}
    store = store or _unkept
    windows = _windows(sources, space, config, seeds, store)
    drawn: dict[Side, Arrays] = {}
    with counted(f"Comparing {names[0]} with {names[1]}", 2 * config.n_samples) as bar:
        for side, other in SIDES:
            drawn[side] = _draw(sources[side], sources[other], space, config, seeds[side], store, side, bar.advance)
    directions = {
        side: _direction(side, drawn[side], windows[side], windows[other], sources[side]) for side, other in SIDES
    }
    return Comparison(
        names=names,
        space=space,
        config=config,
        a=directions["a"],
        b=directions["b"],
        seeds=(seeds["a"], seeds["b"]),
        pieces=_pieces(sources["a"], directions),
    )


def _windows(
    sources: Mapping[Side, SequenceSource],
    space: InputSpace,
    config: CompareConfig,
    seeds: Mapping[Side, int],
    store: Store,
) -> Mapping[Side, Bounds]:
    """The window of each side: given, or chosen by a pilot of its own."""
    given = space.bounds()
    found: dict[Side, Bounds] = {}
    for side, source in sources.items():

        def keep(name: str, make: Callable[[], Arrays], side: Side = side) -> Arrays:
            return store(f"{side} {name}", make)

        found[side] = given[side] if given else pilot_window(source, space, config, seeds[side], keep)
    return found


def _pieces(source: SequenceSource, directions: Mapping[Side, Direction]) -> dict[int, str]:
    """The text of every token that was drawn, where the source tells it."""
    pieces = getattr(source, "pieces", None)
    tokens = np.unique(np.concatenate([one.ids_NL.reshape(-1) for one in directions.values()])).tolist()
    return dict(zip(tokens, pieces(tokens), strict=True)) if pieces else {}


def pilot_window(
    source: SequenceSource, space: InputSpace, config: CompareConfig, seed: int, store: Store = _unkept
) -> Bounds:
    """The 5 % quantile and the median of the NLL (nats) of a pilot drawn at temperature 1 with a seed of its own.

    Where the pilot has several temperatures, only the sequences drawn at 1 count.
    """

    def draw() -> Arrays:
        draws = as_draws(source.sample(config.pilot, seed=_block_seed(seed, -1)), space.length)
        nll_N = draws.nll_N if draws.nll_N is not None else source.score(draws.ids_NL)
        plain = np.isclose(draws.log_q_KN[draws.rung_N, np.arange(len(nll_N))], -nll_N, atol=1e-3)
        return {"nll": nll_N[plain] if plain.any() else nll_N}

    low, high = np.quantile(_numbers(store("pilot", draw)["nll"], "pilot"), PILOT_QUANTILES)
    # A model with one value only (a uniform one) still gets a window around it.
    return float(low - 1e-6 * (1 + abs(low))), float(high + 1e-6 * (1 + abs(high)))


def text_window(source: ModelSource, texts: list[str]) -> Bounds:
    """The 5 % and 95 % quantiles of the NLL (nats) of human texts cut to the length of the space.

    Raises UsageError where fewer than 20 texts are long enough.
    """
    rows = [source.loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    kept = [row[: source.length] for row in rows if len(row) >= source.length]
    if len(kept) < 20:
        raise UsageError(f"A window needs 20 texts of {source.length} tokens or more; {len(kept)} are as long.")
    low, high = np.quantile(source.score(np.array(kept)), [0.05, 0.95])
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


def _sources(
    a: LoadedModel | SequenceSource, b: LoadedModel | SequenceSource, space: InputSpace, config: CompareConfig
) -> tuple[dict[Side, SequenceSource], tuple[str, str]]:
    rows = None
    if isinstance(a, LoadedModel) and isinstance(b, LoadedModel):
        same_vocabulary(a, b)
        rows = min(a.anatomy.vocabulary_size, b.anatomy.vocabulary_size)
    held = [ModelSource.of(one, space, config, rows) if isinstance(one, LoadedModel) else one for one in (a, b)]
    names = tuple(str(getattr(one, "name", name)) for one, name in ((a, "A"), (b, "B")))
    return {"a": held[0], "b": held[1]}, (names[0], names[1])


def _block_seed(seed: int, block: int) -> int:
    return int(np.random.SeedSequence([seed, block + 1]).generate_state(1)[0])


def _draw(
    own: SequenceSource,
    other: SequenceSource,
    space: InputSpace,
    config: CompareConfig,
    seed: int,
    store: Store,
    side: Side,
    advance: Callable[[int], None],
) -> Arrays:
    """All samples of one direction, block by block; the last block is as large as is left."""
    blocks = []
    for number, start in enumerate(range(0, config.n_samples, config.block)):
        size = min(config.block, config.n_samples - start)

        def make(size: int = size, number: int = number) -> Arrays:
            draws = as_draws(own.sample(size, seed=_block_seed(seed, number)), space.length)
            return _scored(draws, own, other, number)

        blocks.append(store(f"{side} samples {number}", make))
        advance(size)
    return {
        name: np.concatenate([block[name] for block in blocks], axis=-1 if name == "log_q" else 0)
        for name in blocks[0]
    }


def _scored(draws: Draws, own: SequenceSource, other: SequenceSource, block: int) -> Arrays:
    found = {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "rung": draws.rung_N}
    if draws.unit_N is not None:
        # Chains of one block are not those of another.
        found["unit"] = draws.unit_N + block * 2**32
    if draws.nll_N is not None:
        own_N, own_tokens = draws.nll_N, draws.token_nll_NL
    else:
        own_N, own_tokens = _score(own, draws.ids_NL)
    other_N, other_tokens = _score(other, draws.ids_NL)
    found |= {"own": _numbers(own_N, "drawing"), "other": _numbers(other_N, "other")}
    if own_tokens is not None and other_tokens is not None:
        found |= {"own_tokens": own_tokens.astype(np.float32), "other_tokens": other_tokens.astype(np.float32)}
    texts = getattr(own, "texts", None)
    # NumPy drops trailing NULs of fixed-width text; none of our texts ends in one that matters.
    return found | ({"texts": np.array(texts(draws.ids_NL))} if texts else {})


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


def _direction(side: Side, drawn: Arrays, window: Bounds, other_window: Bounds, source: SequenceSource) -> Direction:
    draws = Draws(ids_NL=drawn["ids"], log_q_KN=drawn["log_q"], rung_N=drawn["rung"], unit_N=drawn.get("unit"))
    return Direction.from_draws(
        draws,
        side=side,
        window=window,
        other_window=other_window,
        own_N=drawn["own"],
        other_N=drawn["other"],
        own_tokens_NL=drawn.get("own_tokens"),
        other_tokens_NL=drawn.get("other_tokens"),
        text_N=drawn.get("texts"),
    )
