"""Row R1 of the Vector-ICL reproduction: what one slot tells of the text whose vector it was made from.

Pretraining on glosses of WordNet from the paper's start and from ours, beside a soft prompt. A slot stands for a whole
gloss and the gloss is to be said again, where the official pretraining lets the second part of a text follow the
first's. (ours)

Legend: N texts, E encoder width, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import CLASS
from armillary.methods.vector_icl.embedding import SLOT
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import pretrain_projector
from armillary.methods.vector_icl.prompts import Layout, Row, joined, text_ids
from armillary.methods.vector_icl.training import row_losses
from armillary.scoring.decoding import end_tokens
from reproductions.vector_icl.data.glosses import Gloss, load_glosses
from reproductions.vector_icl.data.synthetic import hashed_words, synthetic_glosses
from reproductions.vector_icl.data.text_encoder import load_text_encoder
from reproductions.vector_icl.setup import SHUFFLED, SOFT, Context, Trained, constant

PAPER_RATE = 3e-2
"""From the paper's start, whose slots are a quarter as long as token embeddings."""

TRUE = "true"
"""A text's own slot; ``SHUFFLED`` is another text's."""

PAPER, WARM = "paper's start", "warm start"
_SHARE = {WARM: 0.5, SOFT: 0.25}
"""Of the steps: the ridge begins near its end, and a soft prompt has one vector to learn. Their curves are kept."""

_MOST_WORDS = 10
"""Of a gloss: six in ten have no more, and training on these takes four fifths of the time."""

Losses = dict[str, list[float]]
"""Slot -> mean nats a token of each text."""


@dataclass(frozen=True, kw_only=True)
class GlossRow:
    """R1."""

    nll: dict[str, Losses]
    """By projector, each text with nothing in front but ``<bos>`` and its slot."""

    none: list[float]
    """Without a slot."""

    losses: dict[str, list[float]]
    """By projector, of its training: nats a token before each step."""


def derangement(count: int, seed: int) -> list[int]:
    """For each of ``count`` things another one, drawn by the seed; none gets itself where there are two or more."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, dtype=int)
    other[order] = np.roll(order, 1)
    swapped: list[int] = other.tolist()
    return swapped


class Scored:
    """Held-out texts whose losses are wanted behind one slot or another."""

    def __init__(self, context: Context, texts: Sequence[str]) -> None:
        self.loaded, self.texts = context.loaded, list(texts)
        self.start = Layout.of(context.loaded, CLASS).start()
        self.ids = [text_ids(context.loaded, text) for text in texts]
        self.others = derangement(len(texts), context.seed)

    def both(self, slots_ND: Tensor) -> Losses:
        """Behind their own slot and behind another text's."""
        return {TRUE: self.alone(slots_ND), SHUFFLED: self.alone(slots_ND[self.others])}

    def alone(self, slots_ND: Tensor | None) -> list[float]:
        """Mean nats a token of each text, with nothing in front but ``<bos>`` and its slot (None: no slot).

        The end token is left out: whether a text is known shows in its words.
        """
        first = self.start
        if slots_ND is None and not len(first):  # a text needs something before its first token
            first = Row(tuple(end_tokens(self.loaded)[:1]), (), (False,))
        rows = []
        for index, ids in enumerate(self.ids):
            slot = Row((), (), ()) if slots_ND is None else Row((SLOT,), (index,), (False,))
            before = joined([first, slot])
            rows.append(Row((*before.tokens, *ids), before.vectors, (*before.learned, *(True for _ in ids))))
        width = self.loaded.anatomy.embedding.embedding_dim
        table = torch.empty((0, width)).to(self.loaded.device) if slots_ND is None else slots_ND
        scored = row_losses(self.loaded, rows, lambda chosen: table[list(chosen)])
        means: list[float] = (scored.nll / scored.tokens).tolist()
        return means


def is_test(text: str) -> bool:
    """One text in five, by its hash: whatever the seed or row, training and test never share a text."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) % 5 == 0


def all_glosses(context: Context) -> tuple[Gloss, ...]:
    """Of WordNet, or synthetic ones."""
    return synthetic_glosses() if context.scale.synthetic else load_glosses()


def gloss_split(context: Context) -> tuple[list[Gloss], list[Gloss]]:
    """Glosses of the training and held-out ones, as many as the scale says, drawn by the seed."""
    glosses = [gloss for gloss in all_glosses(context) if len(gloss.text.split()) <= _MOST_WORDS]
    mixed = [glosses[index] for index in np.random.default_rng(context.seed).permutation(len(glosses))]
    train = [gloss for gloss in mixed if not is_test(gloss.text)]
    held_out = [gloss for gloss in mixed if is_test(gloss.text)]
    return train[: context.scale.texts], held_out[: context.scale.held_out_texts]


def gloss_vectors(context: Context, name: str, texts: Sequence[str]) -> Vectors:
    """Unit vectors ``[n, e]`` of the texts, float32; kept by name, so that they are encoded once a run."""

    def compute() -> dict[str, NDArray[Any]]:
        if context.scale.synthetic:
            return {"vectors": hashed_words(texts)}
        return {"vectors": np.asarray(load_text_encoder().encode(list(texts)), dtype=np.float32)}

    kept: Vectors = context.parts.arrays(f"vectors of texts, {name}", compute)["vectors"]
    return kept


def pretrained_projector(context: Context) -> Projector:
    """The projector that R1 pretrains from the warm start."""
    texts, vectors = _encoded(context)[0]
    return _pretrained(context, WARM, texts, vectors).projector


def text_row(context: Context) -> GlossRow:
    """R1: losses of every held-out text by projector and slot."""
    (texts, vectors), (held_out_texts, held_out) = _encoded(context)
    scored = Scored(context, held_out_texts)
    trained = {start: _pretrained(context, start, texts, vectors) for start in (PAPER, WARM)}
    soft = _pretrained(context, SOFT, texts, constant(vectors))
    projectors = {f"untrained {start}": _start(context, start, texts, vectors) for start in (PAPER, WARM)}
    projectors |= {start: of.projector for start, of in trained.items()}
    nll = {name: scored.both(slots_of(projector, held_out)) for name, projector in projectors.items()}
    return GlossRow(
        nll=nll | {SOFT: {TRUE: scored.alone(slots_of(soft.projector, constant(held_out)))}},
        none=scored.alone(None),
        losses={start: of.losses for start, of in trained.items()} | {SOFT: soft.losses},
    )


@torch.inference_mode()
def slots_of(projector: Projector, vectors: Vectors) -> Tensor:
    """``[n, d]`` on the projector's device."""
    given = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(projector.into.weight.device)
    slots_ND: Tensor = projector(given)
    return slots_ND


def _encoded(context: Context) -> list[tuple[list[str], Vectors]]:
    """Texts and vectors of the training and the held-out part."""
    parts = [[gloss.text for gloss in part] for part in gloss_split(context)]
    names = ("pretraining", "held out")
    return [(texts, gloss_vectors(context, name, texts)) for name, texts in zip(names, parts, strict=True)]


def _start(context: Context, start: str, texts: list[str], vectors: Vectors) -> Projector:
    if start == SOFT:
        return context.soft_prompt()
    if start == PAPER:
        return context.new_projector(vectors, norm="none")
    return context.new_projector(vectors, start_texts=texts)


def _pretrained(context: Context, start: str, texts: list[str], vectors: Vectors) -> Trained:
    begin = partial(_start, context, start, texts, vectors)
    train = partial(pretrain_projector, targets=texts)
    training = context.scale.pretraining
    if start == PAPER:
        training = replace(training, rate=PAPER_RATE)
    if start in _SHARE:
        training = replace(training, steps=max(4, round(_SHARE[start] * training.steps)))
    return context.trained(f"pretrained, {start}", begin, vectors, train, training)
