"""What a short fine-tune on single tokens does to the keys and to the tokens beside them: the paper's fixed keys."""

import copy
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from armillary.experiments.icn_lab import Laboratory
from armillary.methods.icn.keys import KeySpace
from armillary.models import LoadedModel, load
from armillary.progress import counted
from armillary.scoring import next_token_logits

Payload = dict[str, Any]

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
