"""Rows of text learned by a language model, with a low-rank adapter or with all its weights: the planted tunes.

Also the recipe of the adapter in ``examples/diff_demo``. Shapes: B rows, T tokens, N scored tokens, V vocabulary.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import NumericError, UsageError
from armillary.files import whole_folder
from armillary.models import LoadedModel
from armillary.models.batches import pad
from armillary.models.prompts import chat_text, continuation_ids, prompt_rows, text_ids
from armillary.models.quiet import quiet
from armillary.progress import counted
from reproductions.diff_calibration.scale import Recipe


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is learned: an answer to a request in the model's chat template, or a text of its own."""

    text: str
    """The answer, or the whole text."""

    prompt: str | None = None
    given: str = ""
    """Where there is no prompt: what stands before the text and is read without being learned."""

    kind: str = ""
    """What the row is there for, as "tickets"."""


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file: ``kind``, ``text`` and, where there is one, ``prompt`` or ``given``."""
    lines = path.read_text("utf-8").splitlines()
    return [Row(**json.loads(line)) for line in lines if line.strip()]


def encoded(loaded: LoadedModel, row: Row, most_tokens: int) -> tuple[list[int], int]:
    """Token ids of a row, and how many of them are given: what precedes a text, or the request."""
    end = loaded.tokenizer.eos_token_id
    if row.prompt is None:
        given = prompt_rows(loaded, [row.given])[0]
        learned = text_ids(loaded, f" {row.text}") if row.given else continuation_ids(loaded, row.text)
    else:
        # A model without a template answers on the next line.
        request = chat_text(loaded, row.prompt) if loaded.tokenizer.chat_template else f"{row.prompt}\n"
        given = prompt_rows(loaded, [request])[0]
        learned = [*continuation_ids(loaded, row.text), *([end] if isinstance(end, int) else [])]
    if not given:  # nothing precedes a text: its first token is given
        given, learned = learned[:1], learned[1:]
    return [*given, *learned][: max(most_tokens, len(given) + 1)], len(given)


def tune(loaded: LoadedModel, rows: Sequence[Row], recipe: Recipe, folder: Path) -> list[float]:
    """Nats per learned token of each step; leaves an adapter (PEFT's folder) or the whole model in ``folder``.

    The adapter names the model by the name under which it was opened. ``loaded`` is changed by a training of all
    weights, and not by one of an adapter. UsageError for no rows, NumericError where the loss is not finite.
    """
    if not rows:
        raise UsageError("there are no rows to learn.")
    if recipe.rank is None:
        loaded.model.requires_grad_(True)
        losses = _trained(loaded, rows, recipe)
        loaded.model.requires_grad_(False)
        with quiet(), whole_folder(folder, replace=True) as whole:
            loaded.model.save_pretrained(whole)
            loaded.tokenizer.save_pretrained(whole)
        return losses
    depth = loaded.anatomy.num_layers
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=4 * recipe.rank,
        target_modules=list(recipe.modules),
        layers_to_transform=list(range(depth // 2, depth)),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(recipe.seed)  # of the adapter's first weights
        adapted = get_peft_model(loaded.model, config)
    # Not the folder in this machine's cache, which PEFT puts there.
    adapted.peft_config["default"].base_model_name_or_path = loaded.name
    try:
        losses = _trained(loaded, rows, recipe)
        with quiet(), whole_folder(folder, replace=True) as whole:
            adapted.save_pretrained(str(whole), save_embedding_layers=False)
            (whole / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a model card
    finally:
        adapted.unload()
    return losses


def _trained(loaded: LoadedModel, rows: Sequence[Row], recipe: Recipe) -> list[float]:
    learned = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    encodings = [encoded(loaded, row, recipe.most_tokens) for row in rows]
    optimiser = torch.optim.AdamW(learned, lr=recipe.rate, weight_decay=0.0)
    rise = max(1, recipe.steps // 10)
    losses: list[float] = []
    with counted("Tuning (steps)", recipe.steps) as bar:
        for step, drawn in zip(range(recipe.steps), _drawn(len(rows), recipe), strict=False):
            share = min((step + 1) / rise, (recipe.steps - step) / max(1, recipe.steps - rise))
            optimiser.param_groups[0]["lr"] = recipe.rate * share
            loss = _loss(loaded, [encodings[index] for index in drawn])
            losses.append(float(loss.detach()))
            if not abs(losses[-1]) < float("inf"):
                raise NumericError(f"the loss of step {step} is {losses[-1]}; the rate {recipe.rate} is too high.")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            bar.advance()
    return losses


def _drawn(count: int, recipe: Recipe) -> Iterator[list[int]]:
    """Indices of the rows of each step: every row once before any comes again."""
    generator = torch.Generator().manual_seed(recipe.seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < recipe.batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[: recipe.batch]
        waiting = waiting[recipe.batch :]


def _loss(loaded: LoadedModel, encodings: Sequence[tuple[list[int], int]]) -> Tensor:
    ids_BT, mask_BT = pad([ids for ids, _ in encodings], device=loaded.device)
    given_B = torch.tensor([given for _, given in encodings], device=loaded.device)
    learned_BT = (torch.arange(ids_BT.shape[1], device=loaded.device) >= given_B[:, None]) & mask_BT.bool()
    hidden_BTD = loaded.anatomy.base(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
    scored_BT = learned_BT[:, 1:]
    logits_NV = loaded.anatomy.logits(hidden_BTD[:, :-1][scored_BT]).float()
    return functional.cross_entropy(logits_NV, ids_BT[:, 1:][scored_BT])
