"""The stages of the ICN reproduction on one model. Each returns plain data and is kept as a part of the run."""

import copy
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from armillary.methods.icn.baselines import generated, rivals
from armillary.methods.icn.chains import PATHS, Solution, solve
from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.key_survey import groups
from armillary.methods.icn.keys import KeyClusters, KeySpace
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing, unreachable
from armillary.methods.icn.result import diversity
from armillary.models import LoadedModel, load
from armillary.progress import counted
from armillary.runs.parts import Parts
from armillary.scoring import next_token_logits
from reproductions.icn.probes.matching import Matcher
from reproductions.icn.probes.probe import KnowledgeProbe
from reproductions.icn.probes.shipped import probe
from reproductions.icn.scale import OPEN, PROBES, Scale

# What the stages of the ICN reproduction share: one model, its probes, its key clusters.

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class Laboratory:
    """One model at one scale; clusters are computed once and kept as parts of the run."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def probes(self) -> tuple[KnowledgeProbe, ...]:
        """The probes of this preset, bases and restrictions."""
        return tuple(probe(id) for id in PROBES[: self.scale.probes])

    @cached_property
    def keys(self) -> KeySpace:
        """The vocabulary's keys."""
        return KeySpace.from_model(self.loaded)

    def clusters(self, offset: int, metric: Metric = "cosine") -> KeyClusters:
        """The clusters of one seed, about one for every hundred tokens."""
        kept = self.parts.arrays(f"clusters {metric} {offset}", lambda: self._clustered(offset, metric))
        facts = kept["facts"].tolist()
        return KeyClusters(
            labels_V=torch.from_numpy(kept["labels"]),
            distances_V=torch.from_numpy(kept["distances"]),
            n_clusters=int(facts[0]),
            metric=metric,
            centred=True,
            seed=self.seed + offset,
            iterations=int(facts[1]),
            converged=bool(facts[2]),
        )

    def _clustered(self, offset: int, metric: Metric) -> dict[str, Any]:
        found = self.keys.cluster(metric=metric, seed=self.seed + offset, max_iterations=self.scale.passes)
        return {
            "labels": found.labels_V.numpy(),
            "distances": found.distances_V.numpy(),
            "facts": np.array([found.n_clusters, found.iterations, int(found.converged)]),
        }

    def foreign(self, index: int) -> KnowledgeProbe:
        """A probe of another base class, to list in the context as a control."""
        here = self.probes[index]
        others = [one for one in self.probes[index + 1 :] + self.probes[:index] if one.base != here.base]
        return others[0] if others else self.probes[(index + 1) % len(self.probes)]


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


def _arms(lab: Laboratory, asked: KnowledgeProbe, one: Probing, matcher: Matcher) -> Payload:
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


# What a short fine-tune on single tokens does to the keys and to the tokens beside them: the paper's fixed keys.

PROMPTS = ("The word is", "Next comes", "Here is one more:", "It says", "And then there was", "My answer is")
"""Prompts after which nothing in particular is right; the last two are held out."""

HELD_OUT = 2
TARGETS = (" red", " seven", " Paris", " apple", " king")
SAMPLE = 4000
"""Tokens whose logits are followed."""

RATE = 1e-5


def fixed_keys(lab: Laboratory) -> Payload:
    """Each target is taught with the head frozen and with it trained; what moved, and which tokens came along."""
    ids = {word: lab.loaded.tokenizer.encode(word, add_special_tokens=False) for word in TARGETS}
    single = {word: row[0] for word, row in ids.items() if len(row) == 1}
    found: Payload = {"tied": lab.loaded.anatomy.tied, "targets": {}}
    with counted("Teaching single tokens", 2 * len(single)) as bar:
        for word, target in single.items():
            found["targets"][word] = {}
            for name, frozen in (("frozen", True), ("trained", False)):
                found["targets"][word][name] = _taught(lab, target, frozen)
                bar.advance()
    return found


def _taught(lab: Laboratory, target: int, frozen: bool) -> Payload:
    model = copy.deepcopy(lab.loaded.model)
    taught = load((model, lab.loaded.tokenizer))
    head = taught.anatomy.head.weight
    assert isinstance(head, nn.Parameter)
    head.requires_grad_(not frozen)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    _teach(taught, target, lab.scale.steps)
    changed = {"head": [0.0, 0.0], "blocks": [0.0, 0.0]}
    for old, new in zip(before, model.parameters(), strict=True):
        kind = changed["head" if new is head else "blocks"]
        kind[0] += float((new.detach() - old).double().square().sum())
        kind[1] += float(old.double().square().sum())
    relative = {name: (moved / size) ** 0.5 if size else 0.0 for name, (moved, size) in changed.items()}
    return {"relative change": relative, **_came_along(lab, taught, target)}


def _teach(taught: LoadedModel, target: int, steps: int) -> None:
    """AdamW on the target after each training prompt."""
    prompts = PROMPTS[:-HELD_OUT]
    trained = [parameter for parameter in taught.model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    taught.model.eval()  # no dropout: the only change is the update
    for step in range(steps):
        row = taught.tokenizer(prompts[step % len(prompts)], return_tensors="pt")["input_ids"].to(taught.device)
        logits_1V = taught.model(input_ids=row).logits[:, -1]
        loss = nn.functional.cross_entropy(logits_1V.float(), torch.tensor([target], device=taught.device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _came_along(lab: Laboratory, taught: LoadedModel, target: int) -> Payload:
    """Change of logits after held-out prompts against the centred cosine to the target's key."""
    keys: KeySpace = lab.keys
    generator = torch.Generator().manual_seed(lab.seed)
    sample_M = torch.randperm(keys.vocabulary_size, generator=generator)[:SAMPLE]
    sample_M = sample_M[sample_M != target]
    cosine_M = keys.similarity(sample_M, [target])[:, 0]
    neighbours, _ = keys.neighbours(target, min(30, keys.vocabulary_size - 1))
    change_M, near, rise = _changes(lab.loaded, taught, sample_M, neighbours, target)
    same_M = lab.clusters(0).labels_V[sample_M] == lab.clusters(0).labels_V[target]
    return {
        "spearman": float(spearmanr(cosine_M.numpy(), change_M.numpy()).statistic),
        "shuffled": float(
            spearmanr(cosine_M[torch.randperm(len(cosine_M), generator=generator)].numpy(), change_M.numpy()).statistic
        ),
        "neighbours": float(near.mean()),
        "random": float(change_M.mean()),
        "in cluster": float(change_M[same_M].mean()) if bool(same_M.any()) else None,
        "target": rise,
    }


def _changes(
    before: LoadedModel, after: LoadedModel, sample_M: Tensor, neighbours: Tensor, target: int
) -> tuple[Tensor, Tensor, float]:
    """Mean change of log-probability over held-out prompts: of the sample, of the neighbours, of the target."""
    held = list(PROMPTS[-HELD_OUT:])
    logprobs = [torch.from_numpy(next_token_logits(one, held)).log_softmax(-1) for one in (before, after)]
    change_V = (logprobs[1] - logprobs[0]).mean(0)
    return change_V[sample_M], change_V[neighbours], float(change_V[target])
