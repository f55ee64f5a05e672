"""A survey of one model's functional neurons for a reader: which tell a capability, and what it loses without them.

Legend: N texts, L layers, M neurons of an FFN, K neurons of equal score.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.data.texts.capability import capabilities as known_capabilities, equal_capability_texts
from armillary.errors import UsageError
from armillary.methods.bricks.losses import Texts
from armillary.methods.bricks.neurons.ablation import AblationTable, ablate
from armillary.methods.bricks.neurons.config import CAPABILITIES, LEAST_TEXTS, ProfileConfig
from armillary.methods.bricks.neurons.examples import firing_examples
from armillary.methods.bricks.neurons.profiling import Profile, profile
from armillary.methods.bricks.neurons.result import BestNeuron, FiringText, SetAblation, SetPair, Survey
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
from armillary.numerics.intervals import Array, bootstrap_mean
from armillary.runs.parts import Store

TOKENS = 64
"""Tokens of a text that are read: more cost time in proportion and say little more of what a text is about."""

READING = ProfileConfig(max_tokens=TOKENS, detail_texts=6)
PERMUTATIONS = 100
"""Of the labels: the largest of them stands beside the best neuron; more only make it a little larger."""

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
) -> Survey:
    """Scores beside their null, sets, their overlaps, what switching them off costs, and what makes neurons fire.

    Neurons are scored on ``limit`` texts of each capability and switched off on ``ablation_texts`` others. Of the
    caller's own ``texts`` (capability to texts; ``capabilities`` then picks among them) the first half scores and the
    second is held out. UsageError for fewer than two capabilities or for fewer than 20 texts of one to score on;
    ModelError for a model whose layers have neither a single FFN write matrix nor readable experts.
    """
    scoring, held_out = _texts(capabilities, texts, limit, ablation_texts, seed)
    activity = profile(loaded, scoring, READING, store=store)
    scores, relative = functional_scores(activity), functional_scores(activity, relative=True)
    nulls = null_scores(activity, permutations=PERMUTATIONS, seed=seed, store=store)
    sets = specialised_sets(scores)
    pairs = overlaps(sets, width=activity.width, seed=seed)
    mean_L = np.mean([pair.by_layer for pair in pairs.values()], axis=0)
    how = f"bootstrap over {len(mean_L)} layers of the mean of {len(pairs)} pairs"
    layers = range(activity.layers)
    return Survey(
        model=loaded.name,
        capabilities={name: known_capabilities().get(name, "") if texts is None else "" for name in scoring},
        texts={name: len(rows) for name, rows in scoring.items()},
        held_out={name: len(rows) for name, rows in held_out.items()},
        tokens=TOKENS,
        layers=activity.layers,
        neurons=activity.width,
        share=SPECIALISED,
        permutations=PERMUTATIONS,
        weak=activity.share_below(WEAK, seed=seed),
        # Only the estimate is kept of a layer: two replicates are the fewest that are taken.
        weak_by_layer=[activity.share_below(WEAK, layer=layer, replicates=2).estimate for layer in layers],
        scores=scores.summary(nulls),
        relative=relative.summary(),
        best_of_layers={name: best_interval(activity, scores, name, seed=seed) for name in scoring},
        best=_best(loaded, activity, scores, relative, nulls, held_out),
        sets={name: [row.tolist() for _, row in sorted(chosen.neurons.items())] for name, chosen in sets.items()},
        overlap=bootstrap_mean(mean_L, seed=seed, how=how),
        pairs=[SetPair(between=names, overlap=pair) for names, pair in pairs.items()],
        ablations=_ablations(loaded, activity, sets, held_out, seed, store),
    )


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


def _best(
    loaded: LoadedModel,
    activity: Profile,
    scores: FunctionalScores,
    relative: FunctionalScores,
    nulls: Sequence[NullScores],
    held: Texts,
) -> dict[str, BestNeuron]:
    """For each capability its best neuron anywhere, and the held-out texts of all capabilities that excite it most."""
    neurons = {name: _best_neuron(activity, scores.of(name), name) for name in scores.capabilities}
    mask_LM = np.zeros(scores.scores_FLM.shape[1:], bool)
    for neuron in neurons.values():
        mask_LM[neuron] = True
    rows = [(name, text) for name, texts in held.items() for text in texts]
    read = firing_examples(loaded, [text for _, text in rows], Index.of_mask(mask_LM), top=EXAMPLES, max_tokens=TOKENS)
    fired = {(row.layer, row.neuron): row.examples for row in read}
    largest = {null.positives: float(null.best_RL.max()) for null in nulls}
    return {
        name: BestNeuron(
            layer=neuron[0],
            neuron=neuron[1],
            score=float(scores.of(name)[neuron]),
            relative=float(relative.of(name)[neuron]),
            as_good=int((scores.of(name) == scores.of(name)[neuron]).sum()),
            largest_of_null=largest[int(positives)],
            examples=[
                FiringText(
                    capability=rows[example.text][0],
                    tokens=list(example.tokens),
                    values=list(example.values),
                    peak=example.peak,
                )
                for example in fired[neuron]
            ],
        )
        for (name, neuron), positives in zip(neurons.items(), scores.positives_F, strict=True)
    }


def _best_neuron(activity: Profile, scores_LM: Array, capability: str) -> tuple[int, int]:
    """Layer and index of the best neuron; of equal ones (K) the one that sets the texts apart by most deviations."""
    layers_K, neurons_K = np.nonzero(scores_LM == scores_LM.max())
    activity_NK = activity.means_NLM[:, layers_K, neurons_K].astype(np.float64)
    own_N = activity.labels_N == activity.label(capability)
    apart_K = activity_NK[own_N].mean(axis=0) - activity_NK[~own_N].mean(axis=0)
    spread_K = activity_NK[own_N].std(axis=0) + activity_NK[~own_N].std(axis=0)
    first = int((apart_K / spread_K.clip(min=1e-30)).argmax())
    return int(layers_K[first]), int(neurons_K[first])


def _ablations(
    loaded: LoadedModel, activity: Profile, sets: Mapping[str, Index], held: Texts, seed: int, store: Store | None
) -> dict[str, SetAblation]:
    """What each capability's set costs it on held-out texts, beside one random and one magnitude-matched set."""
    own = {name: f"without {name}" for name in sets}
    random = random_like(next(iter(sets.values())), activity.width, seed=seed)
    chosen = {own[name]: neurons for name, neurons in sets.items()} | {"random": random}
    table = ablate(loaded, chosen, held, max_tokens=TOKENS, store=store)
    ablations = {}
    for name, neurons in sets.items():
        matched = {"matched": magnitude_matched(neurons, activity.magnitude(name), seed=seed)}
        # The matched set is read on its own capability alone: that is all that it is compared on.
        alone = ablate(loaded, matched, {name: held[name]}, max_tokens=TOKENS, store=store)
        both = AblationTable(before=table.before, after={**table.after, **alone.after}, sizes={})
        ablations[name] = SetAblation(
            own=both.effect(own[name], name, seed=seed).delta_nll,
            matched=both.effect("matched", name, seed=seed).delta_nll,
            random=both.effect("random", name, seed=seed).delta_nll,
            elsewhere=both.collateral(own[name], name, measure="nats", seed=seed),
            own_less_elsewhere=both.own_against_others(own[name], name, measure="nats", seed=seed),
            own_less_matched=both.own_against_controls(own[name], name, ["matched"], measure="nats", seed=seed),
            own_less_random=both.own_against_controls(own[name], name, ["random"], measure="nats", seed=seed),
        )
    return ablations
