"""A survey of one model's functional neurons for a reader: which tell a capability, and what it loses without them.

Legend: N texts, L layers, M neurons of an FFN, K neurons of equal score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.data.texts.capability import capabilities as known_capabilities, equal_capability_texts
from armillary.errors import UsageError
from armillary.methods.bricks.losses import Texts
from armillary.methods.bricks.neurons.ablation import AblationTable, ablate
from armillary.methods.bricks.neurons.config import CAPABILITIES, LEAST_TEXTS, ProfileConfig
from armillary.methods.bricks.neurons.examples import firing_examples
from armillary.methods.bricks.neurons.profiling import Profile, profile
from armillary.methods.bricks.neurons.scores import (
    SPECIALISED,
    FunctionalScores,
    NullScores,
    best_interval,
    functional_scores,
    null_scores,
)
from armillary.methods.bricks.neurons.sets import magnitude_matched, overlaps, random_like, specialised
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.numerics.intervals import bootstrap_mean
from armillary.runs.parts import Store

Payload = dict[str, Any]

TOKENS = 64
"""Tokens of a text that are read."""

READING = ProfileConfig(max_tokens=TOKENS, detail_texts=6)
PERMUTATIONS = 100
WEAK = 0.2
"""A neuron is weak at a token where it writes less than this share of what the strongest one writes."""

EXAMPLES = 2
"""Texts shown for the best neuron of a capability."""


def survey(
    loaded: LoadedModel,
    *,
    capabilities: Sequence[str] | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
    limit: int = 24,
    ablation_texts: int = 4,
    seed: int = 0,
    store: Store | None = None,
) -> Payload:
    """Plain JSON data of the survey: scores beside their null, sets, overlaps, knock-outs, firing examples.

    Neurons are scored on ``limit`` texts of each capability and switched off on ``ablation_texts`` others. Of the
    caller's own ``texts`` (capability to texts; ``capabilities`` then picks among them) the first half scores and the
    second is held out. UsageError for fewer than two capabilities or for fewer than 20 texts of one to score on;
    ModelError for a model whose layers have no single FFN write matrix.
    """
    chosen, held = _texts(capabilities, texts, limit, ablation_texts, seed)
    seen = profile(loaded, chosen, READING, store=store)
    scores, relative = functional_scores(seen), functional_scores(seen, relative=True)
    nulls = null_scores(seen, permutations=PERMUTATIONS, seed=seed, store=store)
    sets = specialised_sets(scores)
    return {
        "model": loaded.name,
        "capabilities": {name: known_capabilities().get(name, "") if texts is None else "" for name in chosen},
        "texts": {name: len(rows) for name, rows in chosen.items()},
        "held_out": {name: len(rows) for name, rows in held.items()},
        "tokens": TOKENS,
        "layers": seen.layers,
        "neurons": seen.width,
        "share": SPECIALISED,
        "permutations": PERMUTATIONS,
        "sparsity": _sparsity(seen, seed),
        "scores": scores.to_dict(nulls),
        "relative": relative.to_dict(),
        "best_of_layers": {name: best_interval(seen, scores, name, seed=seed).to_dict() for name in chosen},
        "best": _best(loaded, seen, scores, relative, nulls, held),
        "sets": {name: [row.tolist() for _, row in sorted(one.neurons.items())] for name, one in sets.items()},
        "overlaps": _overlaps(sets, seen.width, seed),
        "knockouts": _knockouts(loaded, seen, sets, held, seed, store),
    }


def specialised_sets(scores: FunctionalScores) -> dict[str, Index]:
    """For each capability the 5 % of every layer with the highest scores."""
    return {name: specialised(scores.of(name)) for name in scores.capabilities}


def _texts(
    names: Sequence[str] | None, own: Texts | None, limit: int, held_out: int, seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts to score on and texts to test on, by capability."""
    if limit < 1 or held_out < 1:
        raise UsageError(f"limit and ablation_texts must be 1 or more, got {limit} and {held_out}.")
    if own is None:
        wanted = CAPABILITIES if names is None else names
        scoring = equal_capability_texts(wanted, split="score", limit=limit, seed=seed)
        held = equal_capability_texts(wanted, split="test", limit=held_out, seed=seed)
    else:
        missing = [name for name in names or () if name not in own]
        if missing:
            raise UsageError(f"there are no texts of {missing[0]!r}; there are some of {', '.join(own)}.")
        rows = {name: list(own[name]) for name in (own if names is None else names)}
        scoring = {name: row[: len(row) // 2][:limit] for name, row in rows.items()}
        held = {name: row[len(row) // 2 :][:held_out] for name, row in rows.items()}
    if len(scoring) < 2:
        raise UsageError(f"a survey compares at least two capabilities; got {', '.join(scoring) or 'none'}.")
    for name, row in scoring.items():
        if len(row) < LEAST_TEXTS:
            half = "; of texts of your own, half are held out" if own is not None else ""
            raise UsageError(f"{name!r} has {len(row)} texts to score neurons on; {LEAST_TEXTS} are needed{half}.")
    return scoring, held


def _sparsity(seen: Profile, seed: int) -> Payload:
    layers = [seen.share_below(WEAK, layer=layer, replicates=2).estimate for layer in range(seen.layers)]
    return {"below": WEAK, "share": seen.share_below(WEAK, seed=seed).to_dict(), "by_layer": layers}


def _best(
    loaded: LoadedModel,
    seen: Profile,
    scores: FunctionalScores,
    relative: FunctionalScores,
    nulls: Sequence[NullScores],
    held: Texts,
) -> Payload:
    """For each capability its best neuron anywhere, and the held-out texts of all capabilities that excite it most."""
    places = {name: _place(seen, scores.of(name), name) for name in scores.capabilities}
    mask_LM = np.zeros(scores.scores_FLM.shape[1:], bool)
    for place in places.values():
        mask_LM[place] = True
    rows = [(name, text) for name, texts in held.items() for text in texts]
    read = firing_examples(loaded, [text for _, text in rows], Index.of_mask(mask_LM), top=EXAMPLES, max_tokens=TOKENS)
    fired = {(one.layer, one.neuron): one.examples for one in read}
    largest = {null.positives: float(null.best_RL.max()) for null in nulls}
    return {
        name: {
            "layer": place[0],
            "neuron": place[1],
            "score": float(scores.of(name)[place]),
            "relative": float(relative.of(name)[place]),
            "as_good": int((scores.of(name) == scores.of(name)[place]).sum()),
            "largest_of_null": largest[int(positives)],
            "examples": [
                {
                    "capability": rows[one.text][0],
                    "tokens": list(one.tokens),
                    "values": list(one.values),
                    "peak": one.peak,
                }
                for one in fired[place]
            ],
        }
        for (name, place), positives in zip(places.items(), scores.positives_F, strict=True)
    }


def _place(seen: Profile, scores_LM: NDArray[np.float64], capability: str) -> tuple[int, int]:
    """Layer and index of the best neuron; of equal ones (K) the one that sets the texts apart by most deviations."""
    layers_K, neurons_K = np.nonzero(scores_LM == scores_LM.max())
    activity_NK = seen.means_NLM[:, layers_K, neurons_K].astype(np.float64)
    own_N = seen.labels_N == seen.place(capability)
    apart_K = activity_NK[own_N].mean(axis=0) - activity_NK[~own_N].mean(axis=0)
    spread_K = activity_NK[own_N].std(axis=0) + activity_NK[~own_N].std(axis=0)
    first = int((apart_K / spread_K.clip(min=1e-30)).argmax())
    return int(layers_K[first]), int(neurons_K[first])


def _overlaps(sets: Mapping[str, Index], width: int, seed: int) -> Payload:
    """Every pair, and the mean over pairs with an interval over layers."""
    pairs = overlaps(sets, width=width, seed=seed)
    mean_L = np.mean([one.by_layer for one in pairs.values()], axis=0)
    how = f"bootstrap over {len(mean_L)} layers of the mean of {len(pairs)} pairs"
    return {
        "mean": bootstrap_mean(mean_L, seed=seed, how=how).to_dict(),
        "pairs": [{"between": list(names), **one.to_dict()} for names, one in pairs.items()],
    }


def _knockouts(
    loaded: LoadedModel, seen: Profile, sets: Mapping[str, Index], held: Texts, seed: int, store: Store | None
) -> Payload:
    """What each capability's set costs it on held-out texts, beside one random and one magnitude-matched set."""
    random = random_like(next(iter(sets.values())), seen.width, seed=seed)
    rows = {_row(name): chosen for name, chosen in sets.items()} | {"random": random}
    table = ablate(loaded, rows, held, max_tokens=TOKENS, store=store)
    found = {}
    for name, chosen in sets.items():
        control = {"matched": magnitude_matched(chosen, seen.magnitude(name), seed=seed)}
        # A control set is asked for its own capability alone: that is all that it is compared on.
        alone = ablate(loaded, control, {name: held[name]}, max_tokens=TOKENS, store=store)
        both = AblationTable(before=table.before, after={**table.after, **alone.after}, sizes={})
        found[name] = {
            "own": both.effect(_row(name), name, seed=seed).to_dict(),
            "random": both.effect("random", name, seed=seed).to_dict(),
            "matched": both.effect("matched", name, seed=seed).to_dict(),
            "elsewhere": both.collateral(_row(name), name, measure="nats", seed=seed).to_dict(),
            "own_less_elsewhere": both.own_against_others(_row(name), name, measure="nats", seed=seed).to_dict(),
            **{
                f"own_less_{one}": both.own_against_controls(
                    _row(name), name, [one], measure="nats", seed=seed
                ).to_dict()
                for one in ("random", "matched")
            },
        }
    return found


def _row(name: str) -> str:
    return f"without {name}"
