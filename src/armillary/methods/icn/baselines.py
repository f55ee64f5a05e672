"""What navigation is compared with: other ways to get many answers out of one prompt, at the same number of answers.

Orders of first tokens (the answers follow greedily): ``static``, ``cluster cap``, ``key MMR``. Answers drawn by
transformers: temperatures, nucleus, top-k, min-p. And the model's own list in one answer, as users would try first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.icn.core import capped_order, mmr_order
from armillary.methods.icn.keys import KeySpace
from armillary.methods.icn.probing import Probing
from armillary.methods.icn.templates import NUMBERED_LIST, ListTemplate, opened_prompt
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad
from armillary.scoring.decoding import end_tokens

POOL = 1000
"""Best first tokens among which an order chooses; half the vocabulary where that is less."""

CAP, MMR_WEIGHT = 2, 4.0
"""Answers a cluster may give; logits that a fully alike key costs (our choices, fixed before the runs)."""

SAMPLINGS: dict[str, dict[str, Any]] = {
    "temperature 0.7": {"temperature": 0.7, "top_k": 0},
    "temperature 1": {"temperature": 1.0, "top_k": 0},
    "temperature 1.5": {"temperature": 1.5, "top_k": 0},
    "nucleus 0.95": {"top_p": 0.95, "top_k": 0},
    "top-k 40": {"top_k": 40},
    "sampling": {"temperature": 1.0, "top_k": 50},
    "min-p 0.1": {"min_p": 0.1, "top_k": 0},
}
"""Settings of ``generate`` by name; "sampling" is what transformers does by default."""


def first_token_orders(
    probing: Probing, count: int, clusters_V: Int[Tensor, " v"], keys: KeySpace
) -> dict[str, list[int]]:
    """First tokens by each order."""
    # Half at most: the other tokens of a small vocabulary may not be able to begin an answer.
    pool = probing.ranked(min(POOL, len(clusters_V) // 2))
    pool_P = torch.tensor(pool)
    logits_P = probing.logits_V.cpu()[pool_P]
    capped = keys.tokens(capped_order(keys.rows(pool_P), clusters_V.cpu(), CAP)).tolist()
    mmr = mmr_order(logits_P, keys.centred(pool_P).cpu(), count, MMR_WEIGHT).tolist()
    return {
        "static": pool[:count],
        "cluster cap": capped[:count],
        "key MMR": [pool[index] for index in mmr],
    }


@torch.inference_mode()
def generated(probing: Probing, count: int, seed: int, **settings: Any) -> list[str]:
    """``count`` answers drawn by ``generate`` with these settings."""
    model: Any = probing.loaded.model
    tokenizer = probing.loaded.tokenizer
    ids = torch.tensor([probing.base], device=probing.loaded.device)
    # Inside a fork, so that the caller's draws don't depend on how many answers were sampled here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            **settings,
            do_sample=True,
            num_return_sequences=count,
            max_new_tokens=probing.max_new_tokens,
            eos_token_id=probing.first.stop_ids,
            suppress_tokens=list(probing.loaded.nameless_ids) or None,
            pad_token_id=end_tokens(probing.loaded)[0] if end_tokens(probing.loaded) else 0,
        )
    texts = tokenizer.batch_decode(drawn[:, ids.shape[1] :], skip_special_tokens=True)
    return [str(text).split(probing.template.stop)[0].strip() for text in texts]


AT_ONCE: dict[str, str] = {
    "list in one answer": "{instruction} List {count} of them.",
    "verbalised sampling": "{instruction} List {count} of them, each with its probability.",
}
"""What the user asks for many answers in one; the second after "Verbalized Sampling" (Zhang and others, 2025)."""


@dataclass(frozen=True, kw_only=True)
class WrittenList:
    """A list that a model wrote in one answer."""

    items: list[str]
    tokens: int
    """Tokens written, the last item's rest included."""


@torch.inference_mode()
def listed_at_once(
    loaded: LoadedModel,
    instructions: Sequence[str],
    count: int,
    *,
    way: str = "list in one answer",
    template: ListTemplate = NUMBERED_LIST,
    chat: bool = True,
    item_tokens: int = 8,
    seed: int = 0,
) -> list[WrittenList]:
    """The list that the model writes to each instruction in one answer, which begins with the first item's mark.

    Drawn as transformers does by default (temperature 1, top-k 50), with repetition penalty 1.1; at most ``count``
    items and ``count * item_tokens`` tokens. A model that stops early or rambles gives fewer. UsageError for a way
    that ``AT_ONCE`` lacks.
    """
    if way not in AT_ONCE:
        raise UsageError(f"{way!r} is no way to ask for a list; there are {', '.join(AT_ONCE)}.")
    model: Any = loaded.model
    requests = [AT_ONCE[way].format(instruction=instruction, count=count) for instruction in instructions]
    rows = encode(loaded, [opened_prompt(loaded, template, request, chat=chat) for request in requests])
    ids_BT, mask_BT = pad(rows, side="left", device=loaded.device)
    ends = end_tokens(loaded)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = model.generate(
            ids_BT,
            attention_mask=mask_BT,
            do_sample=True,
            temperature=1.0,
            top_k=50,
            repetition_penalty=1.1,
            max_new_tokens=count * item_tokens,
            suppress_tokens=list(loaded.nameless_ids) or None,
            pad_token_id=ends[0] if ends else 0,
        )[:, ids_BT.shape[1] :].tolist()
    lists = []
    for row in drawn:
        length = next((index + 1 for index, token in enumerate(row) if token in ends), len(row))
        text = template.opened(1) + str(loaded.tokenizer.decode(row[:length], skip_special_tokens=True))
        lists.append(WrittenList(items=items(text)[:count], tokens=length))
    return lists


def items(text: str) -> list[str]:
    """The items of a written list: what stands between quotes on a line, else the line without number and remark."""
    listed = []
    for line in text.splitlines():
        marked = re.match(r"\s*(?:\d+[.):]|[-*])\s*(.*)", line)
        if marked:
            quoted = re.match(r'"([^"]*)', marked[1])
            item = quoted[1] if quoted else re.split(r"\s[-\u2013(]|:", marked[1].replace("*", ""))[0]
            listed += [item.strip()] if item.strip() else []
    return listed
