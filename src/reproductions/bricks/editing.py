"""Stages of the Bricks reproduction that change the model: facts edited in one FFN, and growth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from armillary.methods.bricks.editing.answers import base_answers_right, fact_rows
from armillary.methods.bricks.editing.facts import Fact, capital_facts
from armillary.methods.bricks.editing.key_value import KeyCovariance, key_covariances, read_subject
from armillary.methods.bricks.editing.metrics import FactOutcome, edit_outcome, score_edits
from armillary.methods.bricks.editing.rome import choose_layer, edit_fact, key_direction
from armillary.methods.bricks.growth.growing import grow_layers, grow_neurons, split_neurons
from armillary.methods.bricks.growth.grown import Grown, Preservation, preservation
from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
from armillary.methods.bricks.growth.upcycling import upcycle
from armillary.methods.bricks.losses import text_losses
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval, paired_difference
from armillary.records.sections import Cell, Table
from reproductions.bricks.scale import OTHERS, RATES
from reproductions.bricks.setup import Context

NEW = "german"
"""What a grown model is taught."""

TRAIN_TEXTS = 40
"""Texts that growth is trained on."""

PRESERVED = 24
"""Tokens of a text that the larger model is compared on, at once and one after the other."""

CANDIDATES = 120
"""Countries whose capitals the model is asked for: small models know one in several."""


@dataclass(frozen=True, kw_only=True)
class Edits:
    """Capitals edited one at a time."""

    known: int
    """Capitals that the model knows, of those that are needed."""

    measures: dict[str, Interval]
    """None where too few facts are known to edit any."""

    table: Table | None
    """What became of each fact, edited with the second moment of general keys."""


def edits(context: Context) -> Edits:
    """Capitals that the model knows, edited one at a time: general second moment, identity, and a random direction."""
    loaded, seed = context.loaded, context.seed
    trial, facts = known_facts(context)
    known = len(trial) + len(facts)
    if len(facts) < 2 or not trial:
        return Edits(known=known, measures={}, table=None)
    # Evenly spread from an eighth to a half of the depth.
    depth = loaded.anatomy.num_layers
    layers = sorted({int(layer) for layer in np.linspace(depth / 8, depth / 2, context.scale.trial_layers)})
    covariances = key_covariances(loaded, context.general(), layers, max_tokens=context.scale.tokens)
    layer = choose_layer(loaded, trial, layers, covariances, meant_for=facts, seed=seed, require_known=False).best
    changes = [changes_of(context, fact, layer, covariances[layer]) for fact in facts]
    measures: dict[str, Interval] = {}
    outcomes: dict[str, list[FactOutcome]] = {}
    for arm in changes[0]:
        pairs = zip(facts, changes, strict=True)
        outcomes[arm] = [edit_outcome(loaded, [fact], change[arm])[0] for fact, change in pairs]
        scores = score_edits(outcomes[arm])
        shares = {
            "efficacy": scores.efficacy,
            "paraphrases": scores.generalisation,
            "neighbours unchanged": scores.unchanged,
            "written freely": scores.generation,
        }
        # Of a share there is none where no fact has a paraphrase or a neighbour.
        measures |= {f"edits/{name}, {arm}": share for name, share in shares.items() if share is not None}
    general, identity = ([unchanged(outcome) for outcome in outcomes[arm]] for arm in ("general", "identity"))
    measures["edits/unchanged, general minus identity"] = paired_difference(
        general, identity, seed=0, how=f"paired bootstrap over {len(facts)} facts"
    )
    rows: list[list[Cell]] = [
        [outcome.fact.subject, outcome.fact.target_new, after.new[0] > after.true[0],
         float(np.mean(np.greater(after.new[1:], after.true[1:]))), unchanged(outcome), after.generated.strip()]
        for outcome in outcomes["general"]
        for after in (outcome.after,)
    ]  # fmt: skip
    columns = ["subject", "new capital", "edited", "paraphrases", "neighbours unchanged", "it now writes"]
    table = Table(title=f"Each edit at layer {layer}", columns=columns, rows=rows)
    return Edits(known=known, measures=measures, table=table)


def unchanged(outcome: FactOutcome) -> float:
    """Share of the neighbours with the same likeliest next token."""
    return float(np.mean(np.equal(outcome.before.neighbour_top, outcome.after.neighbour_top)))


def known_facts(context: Context) -> tuple[list[Fact], list[Fact]]:
    """Facts to try layers on, and facts to edit, all answered rightly by the base."""
    scale = context.scale
    drawn = capital_facts(CANDIDATES, seed=context.seed)
    right = base_answers_right(context.loaded, drawn)
    known = [fact for fact, is_right in zip(drawn, right, strict=True) if is_right]
    return known[: scale.trial_facts], known[scale.trial_facts : scale.trial_facts + scale.facts]


def changes_of(context: Context, fact: Fact, layer: int, covariance: KeyCovariance) -> dict[str, LowRank]:
    """The same value written along three directions: only the first search for a value is paid."""
    loaded = context.loaded
    general = edit_fact(loaded, fact, layer, covariance, require_known=False).payload
    ((path, (direction_1M, value_D1)),) = general.factors.items()
    key_M = read_subject(loaded, fact_rows(loaded, fact), [layer])[layer].key_M
    plain_M = key_direction(key_M, None).direction_M
    # A key that has nothing to do with the subject: the direction's entries in another order.
    order_M = torch.randperm(len(key_M), generator=torch.Generator().manual_seed(context.seed))
    return {
        "general": general,
        "identity": LowRank({path: (plain_M[None].float(), value_D1)}),
        "random": LowRank({path: (direction_1M[:, order_M], value_D1)}),
    }


def preserved(context: Context) -> dict[str, Preservation]:
    """Largest difference of a logit that each way to grow makes before any training."""
    loaded, seed = context.loaded, context.seed
    texts = [rows[0] for rows in context.texts("test", 1).values()][:2]
    layers = loaded.anatomy.num_layers
    ways: dict[str, Callable[[], Grown]] = {
        "new neurons": lambda: grow_neurons(loaded, context.scale.new_neurons, seed=seed),
        "split neurons": lambda: split_neurons(loaded, Index(dict.fromkeys(range(layers), np.arange(4)))),
        "new layers": lambda: grow_layers(loaded, 2),
        "upcycled experts": lambda: upcycle(loaded, 4, layers=range(0, layers, 3), seed=seed),
    }
    return {name: preservation(loaded, grow().loaded, texts, max_tokens=PRESERVED) for name, grow in ways.items()}


GrowthDraw = dict[str, list[float]]
"""Change of each text's loss, nats per token, by capability."""


def growth_pilot(context: Context) -> dict[str, float]:
    """By rate, how far new neurons trained with it lower the loss on other texts of the new kind; old text is not
    looked at."""
    limit = context.scale.pilot_texts
    train_texts = context.texts("calibrate", TRAIN_TEXTS)[NEW]
    texts = {NEW: context.texts("calibrate", limit, -(-TRAIN_TEXTS // limit))[NEW]}
    before = text_losses(context.loaded, texts, max_tokens=context.scale.tokens)
    return {
        f"{rate:g}": before.per_token()
        - text_losses(taught(context, rate, train_texts, 0), texts, max_tokens=context.scale.tokens).per_token()
        for rate in RATES
    }


def growth(context: Context, rate: float, offset: int) -> GrowthDraw:
    """New neurons trained alone on German: new and old losses."""
    scale = context.scale
    drawn = context.texts("test", scale.growth_texts, offset)
    texts = {name: drawn[name] for name in (NEW, *OTHERS)}
    train_texts = context.texts("score", TRAIN_TEXTS, offset)[NEW]
    before = text_losses(context.loaded, texts, max_tokens=scale.tokens)
    after = text_losses(taught(context, rate, train_texts, offset), texts, max_tokens=scale.tokens)
    return {key: ((after.nll[key] - before.nll[key]) / before.tokens[key]).tolist() for key in texts}


def taught(context: Context, rate: float, texts: Sequence[str], offset: int) -> LoadedModel:
    """A copy of the model with new neurons that were trained on the texts."""
    scale, seed = context.scale, context.seed + offset
    grown = grow_neurons(context.loaded, scale.new_neurons, seed=seed)
    with train_only_new(grown) as new:
        train_on_texts(
            grown.loaded, new, texts, steps=scale.growth_steps, rate=rate, max_tokens=scale.adapter_tokens, seed=seed
        )
    return grown.loaded
