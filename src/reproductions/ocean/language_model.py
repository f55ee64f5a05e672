"""A small causal model over the world's words: made, fitted, asked for chains, alone or mixed with another."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from armillary.methods.ocean.rows import ChainRow
from armillary.methods.ocean.scores import ChainBatch, token_log_probs
from reproductions.ocean.world import BEFORE_ENTITY, END, Question, World, entity_spans, steps_of

Row = dict[str, object]
"""Columns as ``OceanTrainer`` takes them."""

Mix = Callable[[list[Tensor], Tensor], Tensor]
"""Logits of several models at the last position, each ``[B, V]``, and the last words ``[B]`` to logits."""

LONGEST = 48
"""Words of a chain: three steps of at most 10 and an answer, with room for more."""

AT_ONCE = 512
"""Chains drawn together."""


def made(world: World, seed: int) -> LlamaForCausalLM:
    """Random weights, the same for the same seed."""
    scale = world.scale
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(world.vocabulary),
        hidden_size=scale.width,
        intermediate_size=2 * scale.width,
        num_hidden_layers=scale.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        eos_token_id=world.vocabulary[END],
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.1,  # see Scale.rate
    )
    return LlamaForCausalLM(config)


def row_of(question: Question, chain: str, *, every: bool = False, none: bool = False) -> Row:
    """A chain as a row; its entities are the slots, or every word, or none."""
    steps = steps_of(chain)
    spans = [[] if none else entity_spans(step, every=every) for step in steps]
    return {"prompt": question.prompt, "steps": steps, "entity_spans": spans}


def tokens_of(world: World, question: str, chain: str) -> ChainRow:
    """What ``token_rows`` makes of ``row_of`` in a world where a word is a token, without a tokenizer: much faster."""
    prompt, words = question.split(), chain.split()
    steps: list[int] = []
    entities: list[int] = []
    for place, word in enumerate(words):
        begins = place > 0 and words[place - 1] == "." and word != END
        steps.append(steps[-1] + begins if steps else 0)
        is_entity = place > 0 and not begins and words[place - 1] in BEFORE_ENTITY
        entities.append(max(entities, default=-1) + 1 if is_entity else -1)
    vocabulary = world.vocabulary
    return ChainRow(
        input_ids=[vocabulary[word] for word in (*prompt, *words)],
        step_ids=[-1] * len(prompt) + steps,
        span_ids=[-1] * len(prompt) + entities,
        logging="base",
    )


def fit(
    model: LlamaForCausalLM,
    batches: Sequence[tuple[Sequence[ChainRow], Sequence[float]]],
    rate: float,
    loss_of: Callable[[Tensor, ChainBatch, Tensor], Tensor] | None = None,
) -> list[float]:
    """AdamW at a rate that falls linearly after a short warm-up; the loss of each step.

    The loss is the mean negative log-likelihood of the scored words, each row with its weight, or ``loss_of``
    log-probabilities ``[B, L]``, batch and weights.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    losses = []
    model.train()
    for step, (rows, weights) in enumerate(batches):
        # A twentieth of the steps to warm up; linear decay as the Trainer's default has it.
        share = (step + 1) / len(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(share / 0.05, (1 - share) / 0.95 + 1e-3)
        batch, weight_B = ChainBatch.of(rows), torch.tensor(weights)
        logp_BL = token_log_probs(model, batch)
        if loss_of is None:
            loss = -(logp_BL.sum(1) * weight_B).sum() / (batch.scored_BL.sum(1) * weight_B).sum()
        else:
            loss = loss_of(logp_BL, batch, weight_B)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # the Trainer's default
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def alone(logits: list[Tensor], last_B: Tensor) -> Tensor:
    """The first model by itself."""
    return logits[0]


def between(share: float) -> Mix:
    """Logits between those of two models; below 0 and above 1 beyond them."""
    return lambda logits, last_B: (1 - share) * logits[0] + share * logits[1]


def by_slot(world: World) -> Mix:
    """Equation 3's lambda: the second model where an entity is due, else the first."""
    before = torch.tensor([world.vocabulary[word] for word in BEFORE_ENTITY])
    return lambda logits, last_B: torch.where(torch.isin(last_B, before)[:, None], logits[1], logits[0])


@torch.no_grad()
def draw_chains(
    world: World,
    networks: Sequence[LlamaForCausalLM],
    questions: Sequence[Question],
    seed: int,
    mix: Mix = alone,
) -> list[str]:
    """A chain for each question, drawn at temperature 1; one that has not ended is cut at ``LONGEST`` words."""
    generator = torch.Generator().manual_seed(seed)
    end, names = world.vocabulary[END], list(world.vocabulary)
    prompts = [[world.vocabulary[word] for word in q.prompt.split()] for q in questions]
    chains = [""] * len(questions)
    for length in sorted({len(prompt) for prompt in prompts}):  # so that nothing is padded
        order = [index for index, prompt in enumerate(prompts) if len(prompt) == length]
        for start in range(0, len(order), AT_ONCE):
            block = order[start : start + AT_ONCE]
            ids_BL = torch.tensor([prompts[index] for index in block])
            drawn_BL = _drawn(networks, mix, ids_BL, end, generator)
            for index, row in zip(block, drawn_BL.tolist(), strict=True):
                cut = row[: row.index(end) + 1] if end in row else row
                chains[index] = " ".join(names[token] for token in cut)
    return chains


def _drawn(
    networks: Sequence[LlamaForCausalLM], mix: Mix, ids_BL: Tensor, end: int, generator: torch.Generator
) -> Tensor:
    caches: list[object] = [None] * len(networks)
    drawn: list[Tensor] = []
    ended_B = torch.zeros(len(ids_BL), dtype=torch.bool)
    given_BL = ids_BL
    while len(drawn) < LONGEST and not bool(ended_B.all()):
        logits = []
        for index, network in enumerate(networks):
            output = network(given_BL, past_key_values=caches[index], use_cache=True, logits_to_keep=1)
            caches[index] = output.past_key_values
            logits.append(output.logits[:, -1])
        chosen_B1 = torch.multinomial(mix(logits, given_BL[:, -1]).softmax(-1), 1, generator=generator)
        drawn.append(torch.where(ended_B[:, None], end, chosen_B1))
        given_BL = drawn[-1]
        ended_B = ended_B | (given_BL[:, 0] == end)
    return torch.cat(drawn, 1)


@torch.no_grad()
def distributions(networks: Sequence[LlamaForCausalLM], rows: Sequence[ChainRow]) -> list[Tensor]:
    """Log-probabilities of all words at the scored tokens of the rows, one row after another, ``[N, V]`` a model."""
    parts: list[list[Tensor]] = [[] for _ in networks]
    for start in range(0, len(rows), AT_ONCE):
        batch = ChainBatch.of(rows[start : start + AT_ONCE])
        before_BL = torch.nn.functional.pad(batch.scored_BL[:, 1:], (0, 1))  # the position that foretells a token
        for part, network in zip(parts, networks, strict=True):
            logits = network(batch.input_ids_BL, attention_mask=batch.attention_mask_BL).logits
            part.append(logits[before_BL].log_softmax(-1))
    return [torch.cat(part) for part in parts]


def nats(model: LlamaForCausalLM, rows: Sequence[ChainRow]) -> np.ndarray:
    """Mean negative log-likelihood of each row's scored words."""
    values = []
    with torch.no_grad():
        for start in range(0, len(rows), AT_ONCE):
            batch = ChainBatch.of(rows[start : start + AT_ONCE])
            values.append(-token_log_probs(model, batch).sum(1) / batch.scored_BL.sum(1))
    return torch.cat(values).double().numpy()
