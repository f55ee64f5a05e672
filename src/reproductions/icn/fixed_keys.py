"""What a short fine-tune on single tokens does to the keys and to the tokens beside them: the paper's fixed keys."""

import copy
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import nn

from armillary.models import LoadedModel, load
from armillary.models.prompts import prompt_rows, text_ids
from armillary.progress import counted
from armillary.scoring import next_token_logits
from reproductions.icn.stages import Context

PROMPTS = ("The word is", "Next comes", "Here is one more:", "It says", "And then there was", "My answer is")
"""Prompts after which nothing in particular is right; the last two are held out."""

HELD_OUT = 2
TARGETS = (" red", " seven", " Paris", " apple", " king")
SAMPLE = 4000
"""Tokens whose logits are followed: a sample of the vocabulary, as the rank correlation needs no more."""

NEIGHBOURS = 30
RATE = 1e-5
"""Learning rate (ours): a larger one moves more in the few steps and leaves less of the model as it was."""


@dataclass(frozen=True, kw_only=True)
class TaughtToken:
    """One target after its fine-tune."""

    head: float
    """Norm of the change of the head over its norm before; 0 where it was frozen."""

    blocks: float
    """The same of all other weights."""

    spearman: float
    """Of a token's change in log-probability with its key's centred cosine to the target's."""

    shuffled: float
    """The same with the keys shuffled."""

    neighbours: float
    """Mean change of the nearest keys' tokens, nats; so with the next two."""

    random: float
    target: float


@dataclass(frozen=True, kw_only=True)
class TaughtTarget:
    """One target word, taught twice."""

    frozen: TaughtToken
    """With the head frozen."""

    trained: TaughtToken
    """With all weights trained."""


@dataclass(frozen=True, kw_only=True)
class FixedKeysStage:
    """Every target word that is a single token."""

    tied: bool
    """Whether the head is the input embedding too."""

    targets: dict[str, TaughtTarget]


def fixed_keys_stage(context: Context) -> FixedKeysStage:
    """Each target is taught with the head frozen and with it trained; what moved, and which tokens came along."""
    ids = {word: text_ids(context.loaded, word) for word in TARGETS}
    single = {word: row[0] for word, row in ids.items() if len(row) == 1}
    targets = {}
    with counted("Teaching single tokens", 2 * len(single)) as bar:
        for word, target in single.items():
            frozen = _taught(context, target, frozen=True)
            bar.advance()
            targets[word] = TaughtTarget(frozen=frozen, trained=_taught(context, target, frozen=False))
            bar.advance()
    return FixedKeysStage(tied=context.loaded.anatomy.tied, targets=targets)


def _taught(context: Context, target: int, *, frozen: bool) -> TaughtToken:
    """A copy of the model taught the target; changes are read after the held-out prompts."""
    model = copy.deepcopy(context.loaded.model)
    taught = load((model, context.loaded.tokenizer))
    head = taught.anatomy.head.weight
    assert isinstance(head, nn.Parameter)
    head.requires_grad_(not frozen)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    _teach(taught, target, context.scale.steps)
    moved, size = {"head": 0.0, "blocks": 0.0}, {"head": 0.0, "blocks": 0.0}
    for old, new in zip(before, model.parameters(), strict=True):
        part = "head" if new is head else "blocks"
        moved[part] += float((new.detach() - old).double().square().sum())
        size[part] += float(old.double().square().sum())
    relative = {part: (moved[part] / size[part]) ** 0.5 if size[part] else 0.0 for part in moved}
    keys = context.keys
    generator = torch.Generator().manual_seed(context.seed)
    sample_M = keys.tokens(torch.randperm(keys.vocabulary_size, generator=generator)[:SAMPLE])
    sample_M = sample_M[sample_M != target]
    cosine_M = keys.similarity(sample_M, [target])[:, 0]
    shuffled_M = cosine_M[torch.randperm(len(cosine_M), generator=generator)]
    neighbours, _ = keys.neighbours(target, min(NEIGHBOURS, keys.vocabulary_size - 1))
    held_out = list(PROMPTS[-HELD_OUT:])
    old_V, new_V = (
        torch.from_numpy(next_token_logits(loaded, held_out)).log_softmax(-1) for loaded in (context.loaded, taught)
    )
    change_V = (new_V - old_V).mean(0)
    change_M = change_V[sample_M]
    return TaughtToken(
        head=relative["head"],
        blocks=relative["blocks"],
        spearman=float(spearmanr(cosine_M.numpy(), change_M.numpy()).statistic),
        shuffled=float(spearmanr(shuffled_M.numpy(), change_M.numpy()).statistic),
        neighbours=float(change_V[neighbours].mean()),
        random=float(change_M.mean()),
        target=float(change_V[target]),
    )


def _teach(taught: LoadedModel, target: int, steps: int) -> None:
    """AdamW on the target after each training prompt."""
    prompts = PROMPTS[:-HELD_OUT]
    trained = [parameter for parameter in taught.model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    taught.model.eval()  # no dropout: the only change is the update
    for step in range(steps):
        row = torch.tensor(prompt_rows(taught, [prompts[step % len(prompts)]]), device=taught.device)
        logits_1V = taught.model(input_ids=row).logits[:, -1]
        loss = nn.functional.cross_entropy(logits_1V.float(), torch.tensor([target], device=taught.device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
