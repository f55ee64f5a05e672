"""Stages of the Bricks reproduction that change the model: facts edited in one FFN, and growth."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from armillary.methods.bricks.editing.answers import base_answers_right, fact_rows
from armillary.methods.bricks.editing.facts import Fact, capital_facts
from armillary.methods.bricks.editing.key_value import KeyCovariance, key_covariances, read_subject
from armillary.methods.bricks.editing.metrics import FactOutcome, edit_outcome, score_edits, side_effects
from armillary.methods.bricks.editing.rome import choose_layer, edit_fact, key_direction
from armillary.methods.bricks.growth.growing import grow_layers, grow_neurons, split_neurons
from armillary.methods.bricks.growth.grown import Grown, model_copy, preservation
from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
from armillary.methods.bricks.growth.upcycling import upcycle
from armillary.methods.bricks.losses import Losses, effect, text_losses
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import LoadedModel
from reproductions.bricks.scale import OTHERS
from reproductions.bricks.setup import Laboratory

Payload = dict[str, Any]

NEW = "german"
"""What a grown model is taught."""

NEW_RATE, FULL_RATE = 1e-3, 5e-5
"""Rates of training new neurons alone, and the whole model: the usual ones for few and for all parameters."""

TRAIN_TEXTS = 64
SIDE_TEXTS = 8
CANDIDATES = 120


def edits(lab: Laboratory) -> Payload:
    """Capitals that the model knows, edited one at a time: general second moment, identity, and a random direction."""
    trial, facts = _known(lab)
    if len(facts) < 2 or not trial:
        return {"known": len(trial) + len(facts), "facts": []}
    covariances = key_covariances(lab.loaded, lab.general(), _layers(lab), max_tokens=lab.scale.tokens)
    sweep = choose_layer(
        lab.loaded, trial, _layers(lab), covariances, meant_for=facts, seed=lab.seed, require_known=False
    )
    arms: dict[str, list[Payload]] = {"general": [], "identity": [], "random": []}
    scored: dict[str, list[FactOutcome]] = {name: [] for name in arms}
    payloads: list[LowRank] = []
    for fact in facts:
        made = _edits(lab, fact, sweep.best, covariances[sweep.best])
        payloads.append(made["general"])
        for name, change in made.items():
            outcome = edit_outcome(lab.loaded, [fact], change)[0]
            scored[name].append(outcome)
            arms[name].append(_told(outcome))
    return {
        "known": len(trial) + len(facts),
        "layer": sweep.best,
        "sweep": sweep.to_dict(),
        "arms": {name: {"facts": rows, "scores": score_edits(scored[name]).to_dict()} for name, rows in arms.items()},
        "facts": [fact.to_dict() for fact in facts],
        "side effects": _side(lab, payloads[0]),
    }


def _known(lab: Laboratory) -> tuple[list[Fact], list[Fact]]:
    """Facts to try layers on, and facts to edit, all answered rightly by the base."""
    scale = lab.scale
    drawn = capital_facts(CANDIDATES, seed=lab.seed)
    known = [fact for fact, right in zip(drawn, base_answers_right(lab.loaded, drawn), strict=True) if right]
    wanted = known[: scale.trial_facts + scale.facts]
    return wanted[: scale.trial_facts], wanted[scale.trial_facts :]


def _layers(lab: Laboratory) -> list[int]:
    """Layers to try, evenly spread from an eighth to a half of the depth."""
    depth = lab.loaded.anatomy.num_layers
    places = np.linspace(depth / 8, depth / 2, lab.scale.trial_layers)
    return sorted({int(place) for place in places})


def _edits(lab: Laboratory, fact: Fact, layer: int, covariance: KeyCovariance) -> dict[str, LowRank]:
    """The same value written along three directions: only the first search for a value is paid."""
    general = edit_fact(lab.loaded, fact, layer, covariance, require_known=False).payload
    ((path, (direction_1M, value_D1)),) = general.factors.items()
    key_M = read_subject(lab.loaded, fact_rows(lab.loaded, fact), [layer])[layer].key_M
    plain_M = key_direction(key_M, None).direction_M
    # A key that has nothing to do with the subject: the direction's entries in another order.
    order_M = torch.randperm(len(key_M), generator=torch.Generator().manual_seed(lab.seed))
    return {
        "general": general,
        "identity": LowRank({path: (plain_M[None].float(), value_D1)}),
        "random": LowRank({path: (direction_1M[:, order_M], value_D1)}),
    }


def _told(outcome: FactOutcome) -> Payload:
    after, before = outcome.after, outcome.before
    neighbours = list(zip(before.neighbour_top, after.neighbour_top, strict=True))
    return {
        "subject": outcome.fact.subject,
        "new": outcome.fact.target_new,
        "edited": after.new[0] > after.true[0],
        "paraphrases": float(np.mean([n > t for n, t in zip(after.new[1:], after.true[1:], strict=True)])),
        "unchanged": float(np.mean([b == a for b, a in neighbours])),
        "generated": after.generated,
    }


def _side(lab: Laboratory, change: LowRank) -> Payload:
    """What one edit does to unrelated prose."""
    prose = lab.texts("test", SIDE_TEXTS)["writing"]
    return side_effects(lab.loaded, change, prose, max_tokens=lab.scale.tokens).to_dict()


def preserved(lab: Laboratory) -> Payload:
    """Largest difference of a logit that each way to grow makes before any training."""
    texts = [rows[0] for rows in lab.texts("test", 1).values()][:4]
    layers = lab.loaded.anatomy.num_layers
    some = Index(dict.fromkeys(range(layers), np.arange(4)))
    ways: dict[str, Callable[[], Grown]] = {
        "new neurons": lambda: grow_neurons(lab.loaded, lab.scale.new_neurons, seed=lab.seed),
        "split neurons": lambda: split_neurons(lab.loaded, some),
        "new layers": lambda: grow_layers(lab.loaded, 2),
        "upcycled experts": lambda: upcycle(lab.loaded, 4, layers=range(0, layers, 3), seed=lab.seed),
    }
    found: Payload = {}
    for name, way in ways.items():
        grown = way()
        found[name] = {**grown.to_dict(), **preservation(lab.loaded, grown.loaded, texts).to_dict()}
    return found


def growth(lab: Laboratory, offset: int) -> Payload:
    """New neurons trained alone on German against the whole model trained as long: new and old losses."""
    asked = {name: lab.texts("test", lab.scale.growth_texts, offset)[name] for name in (NEW, *OTHERS)}
    lesson = lab.texts("score", TRAIN_TEXTS, offset)[NEW]
    before = text_losses(lab.loaded, asked, max_tokens=lab.scale.tokens)
    grown = grow_neurons(lab.loaded, lab.scale.new_neurons, seed=lab.seed + offset)
    with train_only_new(grown) as new:
        _taught(lab, grown.loaded, new, lesson, NEW_RATE, offset)
    copy = model_copy(lab.loaded)
    everything = list(copy.model.parameters())
    for parameter in everything:
        parameter.requires_grad_(True)
    _taught(lab, copy, everything, lesson, FULL_RATE, offset)
    arms = {"new neurons": grown.loaded, "whole model": copy}
    after = {name: text_losses(model, asked, max_tokens=lab.scale.tokens) for name, model in arms.items()}
    return {
        "added": grown.added,
        "effects": {
            name: {one: effect(before, losses, one).delta_nll.to_dict() for one in asked}
            for name, losses in after.items()
        },
        "texts": {name: _changes(before, losses) for name, losses in after.items()},
    }


def _taught(
    lab: Laboratory, model: LoadedModel, parameters: Sequence[Any], lesson: list[str], rate: float, offset: int
) -> None:
    train_on_texts(
        model,
        parameters,
        lesson,
        steps=lab.scale.growth_steps,
        rate=rate,
        max_tokens=lab.scale.adapter_tokens,
        seed=lab.seed + offset,
    )


def _changes(before: Losses, after: Losses) -> dict[str, list[float]]:
    """Change of each text's loss, nats per token."""
    return {name: ((after.nll[name] - before.nll[name]) / before.tokens[name]).tolist() for name in before.nll}
