"""What a short fine-tune on single tokens changes: the keys or the queries, and the tokens beside the target.

The change of the logits is split exactly by swapping: old and new keys meet old and new queries of held-out prompts.
Legend: P held-out prompts, V vocabulary.
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from armillary.models import LoadedModel, load
from armillary.models.batches import run_body
from armillary.models.prompts import prompt_rows, text_ids
from armillary.progress import counted
from reproductions.icn.stages import Context

PROMPTS = ("The word is", "Next comes", "Here is one more:", "It says", "And then there was", "My answer is")
"""Prompts after which nothing in particular is right; the last two are held out."""

HELD_OUT = 2
TARGETS = (" red", " seven", " Paris", " apple", " king", " river", " doctor", " music")

NEIGHBOURS = 30

RATES: dict[str, tuple[type[torch.optim.Optimizer], float]] = {
    "Adam 3e-5": (torch.optim.Adam, 3e-5),
    "Adam 1e-4": (torch.optim.Adam, 1e-4),
    "SGD 0.001": (torch.optim.SGD, 0.001),
    "SGD 0.01": (torch.optim.SGD, 0.01),
}
"""Optimisers with their rates; the first is that of the nearest-key measures.

Pilots of other targets reached the target with Adam at 1e-5 (35 steps) and 1e-4 (5), and with SGD at 0.01 (4); 3e-5
lies between, and 0.001 is a tenth, neither tried on them. The control says whether the target was learned.
"""

LIKELY = 0.5
"""Training stops once the target has this probability after each training prompt."""


@dataclass(frozen=True, kw_only=True)
class TaughtToken:
    """One target after its fine-tune by one optimiser. Rises are in nats on held-out prompts."""

    steps: int
    rise: float
    """Of the target's log-probability."""

    keys: float
    """Share of the change of the target's logit (less the mean of all) that new keys give to old queries."""

    queries: float
    """The same of new queries to old keys; what is left to 1 is of both together."""

    keys_in_all: float
    """Share of the keys in the change of all logits: projected on it, so that shares add up to 1."""

    queries_in_all: float
    near: float
    """Mean rise of the tokens whose keys are nearest to the target's."""

    near_others: float
    """The same of those nearest to the other targets."""

    head: float
    """Norm of the change of the head over its norm before."""

    blocks: float
    """The same of all other weights."""


@dataclass(frozen=True, kw_only=True)
class FixedKeysStage:
    """Every target word that is a single token."""

    tied: bool
    """Whether the head is the input embedding too."""

    equal_steps: float
    """Relative change of the head over that of the blocks were every weight to move by one size: norms alone."""

    targets: dict[str, dict[str, TaughtToken]]
    """By word and optimiser."""


def fixed_keys_stage(context: Context) -> FixedKeysStage:
    """Each target is taught by each optimiser, all weights trained."""
    ids = {word: text_ids(context.loaded, word) for word in TARGETS[: context.scale.targets]}
    single = {word: row[0] for word, row in ids.items() if len(row) == 1}
    near = {
        word: context.keys.neighbours(target, min(NEIGHBOURS, context.keys.vocabulary_size - 1))[0]
        for word, target in single.items()
    }
    targets: dict[str, dict[str, TaughtToken]] = {}
    with counted("Teaching single tokens", len(RATES) * len(single)) as bar:
        for word, target in single.items():
            others = torch.cat([near[other] for other in single if other != word] or [near[word]])
            # A token that is near to both says nothing about either.
            others = others[~torch.isin(others, torch.cat([near[word], torch.tensor([target])]))]
            targets[word] = {}
            for optimiser in RATES:
                targets[word][optimiser] = _taught(context, target, optimiser, near[word], others)
                bar.advance()
    head, blocks = _sizes(context.loaded)
    return FixedKeysStage(
        tied=context.loaded.anatomy.tied, equal_steps=(blocks[0] / blocks[1]) / (head[0] / head[1]), targets=targets
    )


def _sizes(loaded: LoadedModel) -> tuple[tuple[float, float], tuple[float, float]]:
    """Norm and root of the number of weights, of the head and of all others."""
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for parameter in loaded.model.parameters():
        part = sums[parameter is loaded.anatomy.head.weight]
        part[0] += float(parameter.detach().double().square().sum())
        part[1] += parameter.numel()
    (head, blocks) = ((total**0.5, number**0.5) for total, number in (sums[True], sums[False]))
    return head, blocks


def _taught(context: Context, target: int, optimiser: str, near: Tensor, others: Tensor) -> TaughtToken:
    """A copy of the model taught the target; changes are read after the held-out prompts."""
    loaded, model = context.loaded, copy.deepcopy(context.loaded.model)
    taught = load((model, loaded.tokenizer))
    steps = _teach(taught, target, optimiser, context.scale.steps)
    moved, size = [0.0, 0.0], [0.0, 0.0]
    for old, new in zip(loaded.model.parameters(), model.parameters(), strict=True):
        part = int(new is not taught.anatomy.head.weight)
        moved[part] += float((new.detach() - old.detach()).double().square().sum())
        size[part] += float(old.detach().double().square().sum())
    swapped = swapped_logits(loaded, taught)
    # Less their mean: a shift of all logits changes no probability.
    keys_PV, queries_PV, both_PV = (
        (logits_PV - swapped[0]) - (logits_PV - swapped[0]).mean(-1, keepdim=True) for logits_PV in swapped[1:]
    )
    change_V = (swapped[3].log_softmax(-1) - swapped[0].log_softmax(-1)).mean(0)
    column = list(loaded.token_ids).index(target)
    at_target, total = float(both_PV[:, column].sum()), float(both_PV.square().sum())
    return TaughtToken(
        steps=steps,
        rise=float(change_V[column]),
        keys=float(keys_PV[:, column].sum()) / at_target,
        queries=float(queries_PV[:, column].sum()) / at_target,
        keys_in_all=float((keys_PV * both_PV).sum()) / total,
        queries_in_all=float((queries_PV * both_PV).sum()) / total,
        near=float(change_V[context.keys.rows(near)].mean()),
        near_others=float(change_V[context.keys.rows(others)].mean()),
        head=(moved[0] / size[0]) ** 0.5,
        blocks=(moved[1] / size[1]) ** 0.5,
    )


@torch.inference_mode()
def swapped_logits(old: LoadedModel, new: LoadedModel) -> tuple[Float[Tensor, "p v"], ...]:
    """Logits on the held-out prompts, float64: old queries and keys, new keys, new queries, and both new."""
    rows = prompt_rows(old, PROMPTS[-HELD_OUT:])
    queries = [
        torch.cat([run_body(model, torch.tensor([row], device=model.device))[:, -1] for row in rows])
        for model in (old, new)
    ]
    return tuple(
        model.anatomy.logits(query_PD).double()[:, list(old.token_ids)].cpu()
        for query_PD in queries
        for model in (old, new)
    )


def _teach(taught: LoadedModel, target: int, optimiser: str, steps: int) -> int:
    """Steps on the target after each training prompt in turn, until it is likely after all; how many were made."""
    rows = prompt_rows(taught, PROMPTS[:-HELD_OUT])
    kind, rate = RATES[optimiser]
    steps_of = kind(taught.model.parameters(), lr=rate)  # type: ignore[call-arg]
    taught.model.eval()  # no dropout: the only change is the update
    losses: list[float] = []
    for step in range(steps):
        row = torch.tensor([rows[step % len(rows)]], device=taught.device)
        logits_1V = taught.model(input_ids=row).logits[:, -1]
        loss = nn.functional.cross_entropy(logits_1V.float(), torch.tensor([target], device=taught.device))
        losses.append(float(loss.detach()))
        if len(losses) >= len(rows) and max(losses[-len(rows) :]) < -torch.log(torch.tensor(LIKELY)):
            return step
        steps_of.zero_grad()
        loss.backward()
        steps_of.step()
    return steps
