"""Rows R1 and R9 of the Vector-ICL reproduction: what one slot tells of the text whose vector it was made from.

R1: pretraining on glosses of WordNet from the paper's start and from ours, beside a soft prompt; R9: the same behind a
simulated linear recording with noise. A slot stands for a whole gloss and the gloss is to be said again, where the
official pretraining lets the second part of a text follow the first's. (ours)

Legend: N texts, E encoder width, D hidden size, K shown pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import CLASS
from armillary.methods.vector_icl.decoding import SharedPrefix, continue_queries
from armillary.methods.vector_icl.embedding import SLOT, embed_tokens
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import pretrain_projector, pretraining_row
from armillary.methods.vector_icl.prompts import Ids, Layout, Row, joined, text_ids, text_of
from armillary.methods.vector_icl.training import row_losses
from armillary.numerics.least_squares import fit_linear
from armillary.scoring.decoding import end_tokens
from reproductions.vector_icl.data.glosses import Gloss, load_glosses
from reproductions.vector_icl.data.synthetic import hashed_words, synthetic_glosses
from reproductions.vector_icl.data.text_encoder import load_text_encoder
from reproductions.vector_icl.scale import SNRS
from reproductions.vector_icl.setup import SHUFFLED, SOFT, Context, constant

TRUE = "true"
"""A text's own slot; ``SHUFFLED`` is another text's."""

PAPER, WARM = "paper's start", "warm start"
BEHIND = 8
"""Training pairs in front of the texts of the second reading."""

SOME = 32
"""Texts that are said again, and that are scored behind training pairs: both cost most."""

CHANNELS = 200
"""Numbers of a simulated recording."""

_LONGEST, _EXAMPLES = 24, 4
"""Tokens of a text that is said again, and how many of these are shown."""

Losses = dict[str, list[float]]
"""Slot -> mean nats a token of each text."""


@dataclass(frozen=True, kw_only=True)
class GlossRow:
    """R1."""

    nll: dict[str, Losses]
    """By projector, each text with nothing in front but ``<bos>`` and its slot."""

    none: list[float]
    """Without a slot."""

    packed: dict[str, Losses]
    """By projector, the first texts behind training pairs."""

    f1: dict[str, list[float]]
    """Slot -> F1 of words of the first texts, said again."""

    examples: list[tuple[str, str]]
    """Texts, and what was said behind their own slots."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """One signal-to-noise ratio."""

    nll: Losses
    top1: list[float]
    """1 for each held-out text that a linear decoder names rightly among them all."""


@dataclass(frozen=True, kw_only=True)
class SignalRow:
    """R9."""

    snr: dict[str, Signals]
    chance: float


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
        rows = [_scored_row(first, ids, None if slots_ND is None else n) for n, ids in enumerate(self.ids)]
        return self._means(rows, slots_ND)

    def behind(self, shown: Sequence[str], shown_KD: Tensor, slots_ND: Tensor) -> Losses:
        """The first texts as ``both``, with training pairs in front; only the texts themselves are scored."""
        pairs = joined([pretraining_row(self.loaded, index, text) for index, text in enumerate(shown)])
        before = joined([self.start, Row(pairs.tokens, pairs.vectors, (False,) * len(pairs))])
        rows = [_scored_row(before, ids, len(shown) + index) for index, ids in enumerate(self.ids[:SOME])]
        tables = {TRUE: slots_ND, SHUFFLED: slots_ND[self.others]}
        return {name: self._means(rows, torch.cat([shown_KD, table_ND])) for name, table_ND in tables.items()}

    @torch.inference_mode()
    def said_again(self, slots_ND: Tensor) -> list[str]:
        """Greedy text behind each of the first slots."""
        loaded = self.loaded
        begin = embed_tokens(loaded, torch.tensor(self.start.tokens, dtype=torch.long, device=loaded.device))
        queries = SharedPrefix(loaded, begin[None]).read(slots_ND[:SOME, None].to(begin.dtype))
        answers = continue_queries(loaded, queries, max_new_tokens=_LONGEST, stop_ids=end_tokens(loaded))
        return [text_of(loaded, ids) for ids in answers]

    def _means(self, rows: Sequence[Row], table_ND: Tensor | None) -> list[float]:
        width = self.loaded.anatomy.embedding.embedding_dim
        table = torch.empty((0, width)).to(self.loaded.device) if table_ND is None else table_ND
        scored = row_losses(self.loaded, rows, lambda chosen: table[list(chosen)])
        means: list[float] = (scored.nll / scored.tokens).tolist()
        return means


def _scored_row(before: Row, ids: Ids, slot: int | None) -> Row:
    """A text to be scored, behind its slot."""
    own = Row((), (), ()) if slot is None else Row((SLOT,), (slot,), (False,))
    whole = joined([before, own])
    return Row((*whole.tokens, *ids), whole.vectors, (*whole.learned, *(True for _ in ids)))


def is_test(text: str) -> bool:
    """One text in five, by its hash: whatever the seed or row, training and test never share a text."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) % 5 == 0


def all_glosses(context: Context) -> tuple[Gloss, ...]:
    """Of WordNet, or synthetic ones."""
    return synthetic_glosses() if context.scale.synthetic else load_glosses()


def gloss_split(context: Context) -> tuple[list[Gloss], list[Gloss]]:
    """Glosses of the training and held-out ones, as many as the scale says, drawn by the seed."""
    glosses = all_glosses(context)
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
    return _pretrained(context, WARM, texts, vectors)


def text_row(context: Context) -> GlossRow:
    """R1: losses of every held-out text by projector and slot, alone and behind training pairs, and texts said
    again."""
    (texts, vectors), (held_out_texts, held_out) = _encoded(context)
    scored = Scored(context, held_out_texts)
    projectors = {f"untrained {start}": _start(context, start, texts, vectors) for start in (PAPER, WARM)}
    projectors |= {start: _pretrained(context, start, texts, vectors) for start in (PAPER, WARM)}
    soft = _pretrained(context, SOFT, texts, constant(vectors))
    nll = {name: scored.both(slots_of(projector, held_out)) for name, projector in projectors.items()}
    packed = {
        start: scored.behind(
            texts[:BEHIND],
            slots_of(projectors[start], vectors[:BEHIND]),
            slots_of(projectors[start], held_out),
        )
        for start in (PAPER, WARM)
    }
    slots_ND = slots_of(projectors[WARM], held_out)
    again = {TRUE: scored.said_again(slots_ND), SHUFFLED: scored.said_again(slots_ND[scored.others])}
    return GlossRow(
        nll=nll | {SOFT: {TRUE: scored.alone(slots_of(soft, constant(held_out)))}},
        none=scored.alone(None),
        packed=packed,
        f1={
            slot: [token_f1(*pair) for pair in zip(answers, held_out_texts, strict=False)]
            for slot, answers in again.items()
        },
        examples=list(zip(held_out_texts[:_EXAMPLES], again[TRUE], strict=False)),
    )


def signal_row(context: Context) -> SignalRow:
    """R9: ``v = A f(text) + noise`` with 200 numbers; losses by slot, and what a linear decoder finds there."""
    (texts, vectors), (held_out_texts, held_out) = _encoded(context)
    scored = Scored(context, held_out_texts)
    ratios = {}
    for name in SNRS:
        signals = simulated(vectors, held_out, float(name), context.seed)
        start = partial(context.new_projector, signals[0], start_texts=texts)
        train = partial(pretrain_projector, targets=texts)
        projector = context.trained(f"signals, {name}", start, signals[0], train, context.scale.signals)
        ratios[name] = Signals(
            nll=scored.both(slots_of(projector, signals[1])),
            top1=decoded(signals, (vectors, held_out)),
        )
    return SignalRow(snr=ratios, chance=1 / len(held_out_texts))


def simulated(train: Vectors, held_out: Vectors, snr: float, seed: int) -> tuple[Vectors, Vectors]:
    """Signals ``[n, 200]`` of both parts through one Gaussian matrix, with noise, standardised on the first part."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(train.shape[1], CHANNELS)) / np.sqrt(train.shape[1])
    clean = [vectors @ mixing for vectors in (train, held_out)]
    deviation = np.sqrt(clean[0].var(0).mean() / snr)
    noisy = [signals + deviation * generator.normal(size=signals.shape) for signals in clean]
    kept = standardised(noisy[0], noisy[1])
    return kept[0], kept[1]


def decoded(signals: tuple[Vectors, Vectors], encoded: tuple[Vectors, Vectors]) -> list[float]:
    """1 for each held-out signal whose ridge prediction is nearest (cosine) to its own text's vector, else 0.

    Both pairs are of the training part and the held-out one; the ridge is fitted on the first.
    """
    fit = fit_linear(torch.from_numpy(signals[0]), torch.from_numpy(encoded[0]), "gcv")
    mean = encoded[0].mean(0)
    predicted = fit.predict(torch.from_numpy(signals[1])).numpy() - mean
    known = encoded[1] - mean
    near = predicted @ (known / np.linalg.norm(known, axis=1, keepdims=True).clip(1e-9)).T
    right: list[float] = (near.argmax(1) == np.arange(len(near))).astype(float).tolist()
    return right


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


def _pretrained(context: Context, start: str, texts: list[str], vectors: Vectors) -> Projector:
    begin = partial(_start, context, start, texts, vectors)
    train = partial(pretrain_projector, targets=texts)
    return context.trained(f"pretrained, {start}", begin, vectors, train, context.scale.pretraining)
