"""A small decoder in plain torch: trained on prompts and answers, tuned on preferences, sampled with a cache.

Shapes: B rows, T positions, G = 3 tokens of a group, which stand at one position. Rows are padded on the left, so that
answers begin together; positions are rotary (Su and others, 2021), so that only distances count and a longer request
is no new position.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.methods.ultragen.core import preference_loss
from reproductions.ultragen.world import END, LONGEST_TEXT, PAD, VOCABULARY, Group

Row = tuple[Sequence[Group], Sequence[int]]
"""Groups of a prompt and tokens of its answer, without the end."""

Cache = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the decoder."""

    layers: int = 3
    width: int = 96
    heads: int = 4
    inner: int = 256


class Layer(nn.Module):
    """Attention and a perceptron, each behind a norm of its own."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm, self.norm_inner = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.inner = nn.Sequential(nn.Linear(shape.width, shape.inner), nn.GELU(), nn.Linear(shape.inner, shape.width))

    def forward(
        self, x_BTW: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """The states behind the layer, its keys and values, and its turned queries."""
        rows, length, width = x_BTW.shape
        qkv = self.qkv(self.norm(x_BTW)).view(rows, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = _turned(q, turn), _turned(k, turn)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x_BTW = x_BTW + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x_BTW + self.inner(self.norm_inner(x_BTW)), (k, v), q


class Decoder(nn.Module):
    """Tied embeddings, rotary positions; about 0.26 M parameters at the default shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, shape.width)
        self.second = nn.Embedding(VOCABULARY, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head_width = shape.width // shape.heads
        self._start()

    def forward(
        self, tokens_BTG: Tensor, positions_BT: Tensor, mask: Tensor, cache: Cache | None = None
    ) -> tuple[Tensor, Cache, list[Tensor]]:
        """Normed states, keys and values, and queries of each layer; ``mask`` is true where is looked."""
        frequency = 10000 ** (-torch.arange(0, self.head_width, 2) / self.head_width)
        angle = positions_BT[:, None, :, None] * frequency
        turn = torch.cos(angle), torch.sin(angle)
        x_BTW, grown, queries = self._embedded(tokens_BTG), [], []
        for index, layer in enumerate(self.layers):
            x_BTW, kept, q = layer(x_BTW, turn, mask, None if cache is None else cache[index])
            grown.append(kept)
            queries.append(q)
        return self.norm(x_BTW), grown, queries

    @torch.no_grad()
    def _start(self) -> None:
        """Weights that keep sizes; values and outputs of attention begin as copies of what is looked at.

        [derived] That a model can say a word that stands in its prompt is what language models come with; without it a
        thousand steps are spent on finding it, and none on the attributes (pilot: a loss of 2.67 without, of 2.53 with
        it after 400 steps).
        """
        for name, parameter in self.named_parameters():
            if "embedding" in name or "second" in name:
                nn.init.normal_(parameter, std=0.05)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        width = self.embedding.embedding_dim
        for name, parameter in self.named_parameters():
            if name.endswith("qkv.weight"):
                parameter[2 * width :] = torch.eye(width)
            elif name.endswith("out.weight"):
                parameter.copy_(2 * torch.eye(width))
            elif name.endswith("inner.2.weight"):
                parameter.mul_(0.3)  # the perceptrons begin quietly

    def _embedded(self, tokens_BTG: Tensor) -> Tensor:
        """The sum of a group's embeddings; the last argument has a table of its own, since order matters."""
        kind, first, second = tokens_BTG.unbind(-1)
        first_BTW = self.embedding(first) * (first != PAD)[..., None]
        summed = self.embedding(kind) + first_BTW + self.second(second) * (second != PAD)[..., None]
        return cast(Tensor, 10 * summed)  # to half a unit a token, about the size of what a layer adds

    def logits(self, states: Tensor) -> Tensor:
        """Of the next token."""
        return 4 * functional.linear(states, self.embedding.weight)  # to logits of two units at the start


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


@dataclass(frozen=True)
class Batch:
    """Rows padded on the left."""

    tokens_BTG: Tensor
    positions_BT: Tensor
    mask_B1TT: Tensor
    answer_BT: Tensor
    """True at the positions whose token is part of an answer, its end included."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Batch":
        """Each row is its prompt, its answer and the end."""
        tokens = _padded([[*prompt, *((token, PAD, PAD) for token in (*answer, END))] for prompt, answer in rows])
        answer_BT = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        for index, (_, answer) in enumerate(rows):
            answer_BT[index, -len(answer) - 1 :] = True
        return cls(tokens, *_positions(tokens), answer_BT)


def _padded(rows: Sequence[Sequence[Group]]) -> Tensor:
    """``[B, T, 3]``."""
    length = max(map(len, rows))
    blank: Group = (PAD, PAD, PAD)
    return torch.tensor([[blank] * (length - len(row)) + list(row) for row in rows])


def _positions(tokens_BTG: Tensor) -> tuple[Tensor, Tensor]:
    """Positions from the first real token on, and the causal mask over real tokens (each sees at least itself)."""
    real = tokens_BTG[..., 0] != PAD
    length = tokens_BTG.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = (causal & real[:, None, :]) | torch.eye(length, dtype=torch.bool)
    return (real.cumsum(1) - 1).clamp(min=0), mask[:, None]


def answer_logprobs(model: Decoder, batch: Batch) -> Tensor:
    """Log-probability of each row's answer, nats, summed over its tokens with the end ``[B]``."""
    states, _, _ = model(batch.tokens_BTG[:, :-1], batch.positions_BT[:, :-1], batch.mask_B1TT[:, :, :-1, :-1])
    wanted = batch.answer_BT[:, 1:]
    # The head reads the answers' positions alone: prompts are most of a row.
    loss = functional.cross_entropy(model.logits(states[wanted]), batch.tokens_BTG[:, 1:, 0][wanted], reduction="none")
    return -torch.zeros(len(wanted)).index_add(0, wanted.nonzero()[:, 0], loss)


def fit(model: Decoder, batches: Sequence[Sequence[Row]], rate: float, warm_up: float = 0.05) -> list[float]:
    """Eq. (1): cross-entropy of the answers, AdamW, cosine decay after a warm-up; the loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    losses: list[float] = []
    for step, rows in enumerate(batches):
        _set_rate(optimizer, rate * _schedule(step, len(batches), warm_up))
        batch = Batch.of(rows)
        loss = -answer_logprobs(model, batch).sum() / batch.answer_BT.sum()
        _step(model, optimizer, loss)
        losses.append(loss.item())
    return losses


@dataclass(frozen=True)
class Pair:
    """A prompt with the answer that scored better and the one that scored worse."""

    prompt: Sequence[Group]
    chosen: Sequence[int]
    rejected: Sequence[int]
    margin: float
    """Difference of their satisfaction rates."""


def prefer(
    model: Decoder, pairs: Sequence[Pair], *, rate: float, beta: float, epochs: int, batch: int, seed: int
) -> None:
    """Eq. (3): DPO against the model as given, whose log-probabilities are taken once before."""
    reference = pair_logprobs(model, pairs, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    draw = np.random.default_rng(seed)
    steps = [
        order
        for _ in range(epochs)
        for order in np.array_split(draw.permutation(len(pairs)), max(1, len(pairs) // batch))
    ]
    for step, order in enumerate(steps):
        _set_rate(optimizer, rate * _schedule(step, len(steps), 0.1))
        chosen = [pairs[i] for i in order]
        own = answer_logprobs(
            model, Batch.of([(p.prompt, p.chosen) for p in chosen] + [(p.prompt, p.rejected) for p in chosen])
        )
        _step(
            model,
            optimizer,
            preference_loss(own[: len(order)], own[len(order) :], reference[0][order], reference[1][order], beta),
        )


def pair_logprobs(model: Decoder, pairs: Sequence[Pair], batch: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the chosen and of the rejected answers."""
    sides = ([(p.prompt, p.chosen) for p in pairs], [(p.prompt, p.rejected) for p in pairs])
    with torch.no_grad():
        chosen, rejected = (
            torch.cat([answer_logprobs(model, Batch.of(rows[i : i + batch])) for i in range(0, len(rows), batch)])
            for rows in sides
        )
    return chosen, rejected


def _schedule(step: int, steps: int, warm_up: float) -> float:
    share = (step + 1) / steps
    return share / warm_up if share < warm_up else 0.5 + 0.5 * math.cos(math.pi * (share - warm_up) / (1 - warm_up))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _step(model: Decoder, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # the released settings' bound
    optimizer.step()


AT_ONCE = 400
"""Rows sampled together: beyond some hundreds a step of one core takes longer in proportion."""


@torch.no_grad()
def sample(model: Decoder, prompts: Sequence[Sequence[Group]], *, temperature: float, seed: int) -> list[list[int]]:
    """An answer to each prompt, without its end; one that has not ended is cut at the longest text's length."""
    generator = torch.Generator().manual_seed(seed)
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), AT_ONCE):
        block = order[start : start + AT_ONCE]
        for index, answer in zip(
            block, _sampled(model, [prompts[i] for i in block], temperature, generator), strict=True
        ):
            answers[index] = answer
    return answers


def _sampled(
    model: Decoder, prompts: Sequence[Sequence[Group]], temperature: float, generator: torch.Generator
) -> list[list[int]]:
    tokens = _padded(prompts)
    positions, mask = _positions(tokens)
    states, cache, _ = model(tokens, positions, mask)
    seen, place = mask[:, :, -1:], positions[:, -1:]
    rows = torch.arange(len(prompts))
    answers: list[list[int]] = [[] for _ in prompts]
    state = states[:, -1]
    for _ in range(LONGEST_TEXT):
        probabilities = torch.softmax(model.logits(state) / temperature, -1)
        drawn = torch.multinomial(probabilities, 1, generator=generator)
        going = (drawn[:, 0] != END).nonzero()[:, 0]
        for row, token in zip(rows[going].tolist(), drawn[going, 0].tolist(), strict=True):
            answers[row].append(token)
        if not len(going):
            break
        if len(going) < len(rows):  # rows that have ended are dropped, which halves the work
            rows, drawn, place, seen = rows[going], drawn[going], place[going], seen[going]
            cache = [(k[going], v[going]) for k, v in cache]
        seen = torch.cat([seen, torch.ones(len(rows), 1, 1, 1, dtype=torch.bool)], -1)
        place = place + 1
        states, cache, _ = model(functional.pad(drawn[..., None], (0, 2), value=PAD), place, seen, cache)
        state = states[:, -1]
    return answers


@torch.no_grad()
def attention(model: Decoder, batch: Batch) -> Tensor:
    """Weight of every position on every other, mean over layers and heads ``[B, T, T]``."""
    _, cache, queries = model(batch.tokens_BTG, batch.positions_BT, batch.mask_B1TT)
    weights = [
        torch.softmax(
            (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~batch.mask_B1TT, -math.inf), -1
        ).mean(1)
        for q, (k, _) in zip(queries, cache, strict=True)
    ]
    return torch.stack(weights).mean(0)
