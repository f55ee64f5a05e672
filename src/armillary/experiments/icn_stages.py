"""The stages of the ICN reproduction on one model. Each returns plain data and is kept as a part of the run."""

import random
from typing import Any

import torch

from armillary.data.matching import Matcher
from armillary.data.probes import Probe
from armillary.experiments.icn_lab import Laboratory, Metric
from armillary.experiments.icn_scale import OPEN
from armillary.methods.icn.baselines import generated, rivals
from armillary.methods.icn.chains import PATHS, Solution, solve
from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.distinct import diversity
from armillary.methods.icn.key_survey import groups
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing, unreachable
from armillary.models import LoadedModel

Payload = dict[str, Any]

BANDS = 64
"""Bands of token ids for the frequency-matched null."""

ANSWER_TOKENS = 12
LISTS = (10, 30)
"""Lengths of the lists whose effect on explored tokens is measured."""


def clusters(lab: Laboratory, metric: Metric, offset: int) -> Payload:
    """How alike the keys of one cluster are, and whether letters, digits and months lie together."""
    found = lab.clusters(offset, metric)
    sizes = found.sizes_C.argsort(descending=True).tolist()
    middle = sizes[len(sizes) // 2]
    return {
        "facts": found.to_dict(),
        "cohesion": found.cohesion(lab.keys, seed=lab.seed + offset).to_dict(),
        "groups": groups(lab.loaded, found),
        "examples": [
            {"size": int(found.sizes_C[one]), "tokens": found.examples(lab.loaded.tokenizer, one, 10)}
            for one in (*sizes[:3], middle)
        ],
    }


def probing(lab: Laboratory, index: int) -> Payload:
    """One probe: its ranks judged and placed in the key space, explored tokens under lists, navigation and rivals."""
    asked, matcher = lab.probes[index], Matcher(lab.probes[index], "prefix")
    one = Probing(lab.loaded, asked.instruction, max_new_tokens=ANSWER_TOKENS)
    tokens = one.ranked(lab.scale.ranks)
    texts = one.answers(tokens)
    return {
        "id": asked.id,
        "base": asked.base,
        "answers": len(asked.answers),
        "unreachable": len(unreachable(lab.loaded, asked.answers)),
        "texts": texts,
        "gold": [matcher.match(text) is not None for text in texts],
        "strict": [Matcher(asked).match(text) is not None for text in texts],
        "clusters": [_places(lab, tokens, offset) for offset in range(lab.scale.seeds)],
        "lists": _under_lists(lab, index, one, tokens[: lab.scale.top]),
        "arms": _arms(lab, asked, one, matcher),
    }


def _places(lab: Laboratory, tokens: list[int], offset: int) -> Payload:
    """Which ranks after the top lie in its clusters, and what a random draw would give."""
    found = lab.clusters(offset)
    labels_V, ranked_N, top = found.labels_V, torch.tensor(tokens), lab.scale.top
    giants = torch.isin(labels_V[ranked_N[top:]], torch.tensor(found.giants(), dtype=torch.int64))
    return {
        "inside": in_top_clusters(labels_V[ranked_N], top).tolist(),
        "giant": giants.tolist(),
        "uniform": expected_share(labels_V, ranked_N, top),
        "banded": expected_share(labels_V, ranked_N, top, bands=min(BANDS, max(1, len(labels_V) // 200))),
    }


def _under_lists(lab: Laboratory, index: int, one: Probing, tokens: list[int]) -> Payload:
    """Ranks of the explored first tokens with nothing listed, their own answers, those shuffled, and foreign ones."""
    found: Payload = {"none": one.after_list([], tokens).to_dict()}
    mix = random.Random(lab.seed + index)
    foreign = [spellings[0] for spellings in lab.foreign(index).answers]
    for length in (length for length in LISTS if length <= lab.scale.ranks):
        own = one.answers(one.ranked(length))
        mixed = mix.sample(own, len(own))
        other = [foreign[place % len(foreign)] for place in mix.sample(range(max(length, len(foreign))), length)]
        for name, listed in (("own", own), ("shuffled", mixed), ("foreign", other)):
            found[f"{name} {length}"] = one.after_list(listed, tokens).to_dict()
    return found


def _arms(lab: Laboratory, asked: Probe, one: Probing, matcher: Matcher) -> Payload:
    """What navigation and each rival answer with the same number of answers, and which are right."""
    scale = lab.scale
    count, labels_V = scale.rounds * scale.per_round, lab.clusters(0).labels_V
    navigator = Navigator(lab.loaded, rounds=scale.rounds, per_round=scale.per_round, max_new_tokens=ANSWER_TOKENS)
    given = [spellings[0] for spellings in asked.answers]
    seeds = random.Random(lab.seed).sample(given, min(10, len(given) // 2))
    arms = {"navigation": navigator.explore(asked.instruction).texts}
    seeded = Navigator(lab.loaded, config=navigator.config, rounds=1, per_round=count)
    base = one.template.listed(one.template.base(asked.instruction), seeds)
    arms["list given for free"] = seeded.continued([base])[0].texts
    for name, run in rivals(one, count, labels_V, lab.keys, seed=lab.seed).items():
        arms[name] = run()
    return {name: {"texts": texts, "meant": [matcher.match(text) for text in texts]} for name, texts in arms.items()}


def open_ended(lab: Laboratory, index: int) -> Payload:
    """Texts to one open instruction: navigated, static, and sampled at temperature 1."""
    scale, instruction = lab.scale, OPEN[index]
    count = scale.open_rounds * scale.open_per_round
    one = Probing(lab.loaded, instruction, max_new_tokens=scale.open_tokens)
    navigator = Navigator(
        lab.loaded, rounds=scale.open_rounds, per_round=scale.open_per_round, max_new_tokens=scale.open_tokens
    )
    arms = {
        "navigation": navigator.explore(instruction).texts,
        "static": one.answers(one.ranked(count)),
        "temperature 1": generated(one, count, lab.seed, temperature=1.0, top_k=0),
    }
    return {name: {"texts": texts, **diversity(texts).to_dict()} for name, texts in arms.items()}


_STORIES = (
    (
        "Tom has {a} apples. He buys {b} more apples and gives {c} apples to Ann. How many apples does Tom have?",
        "a+b-c",
    ),
    ("A box holds {a} pens. There are {b} boxes, and {c} pens are lost. How many pens are left?", "a*b-c"),
    ("Ann has {a} books and Tom has {b} books. They buy {c} books together. How many books do they have?", "a+b+c"),
)


def problems(count: int, seed: int) -> list[tuple[str, str]]:
    """Word problems of two steps with their answers (written for this project)."""
    drawn = random.Random(seed)
    found = []
    for number in range(count):
        story, rule = _STORIES[number % len(_STORIES)]
        a, b = drawn.randint(3, 12), drawn.randint(2, 9)
        c = drawn.randint(1, 5)
        answer = {"a+b-c": a + b - c, "a*b-c": a * b - c, "a+b+c": a + b + c}[rule]
        found.append((story.format(a=a, b=b, c=c), str(answer)))
    return found


def chains(lab: Laboratory) -> Payload:
    """Votes and paths on the problems, with navigation and without."""
    asked = problems(lab.scale.problems, lab.seed)
    found: Payload = {"answers": [answer for _, answer in asked]}
    for name, navigate in (("navigation", True), ("static", False)):
        solved = _solved(lab.loaded, [question for question, _ in asked], lab.scale.path_tokens, navigate)
        found[name] = [
            {"vote": one.vote, "answers": list(one.answers), "complete": [bool(path) for path in one.paths]}
            for one in solved
        ]
    return found


def _solved(loaded: LoadedModel, questions: list[str], tokens: int, navigate: bool) -> list[Solution]:
    return solve(loaded, questions, config=PATHS, max_new_tokens=tokens, navigate=navigate)
