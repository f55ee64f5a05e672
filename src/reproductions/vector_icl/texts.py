"""Rows R1 and R9 of the Vector-ICL reproduction: what one box tells of the text whose vector it was made from.

R1: pretraining on glosses of WordNet from the paper's start and from ours, beside a soft prompt; R9: the same behind a
simulated linear recording with noise. A box stands for a whole gloss and the gloss is to be said again, where the
official pretraining lets the second part of a text follow the first's box. [derived]

Legend: N texts, E encoder width.
"""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.decoding import SharedPrefix, continue_queries
from armillary.methods.vector_icl.embedding import SLOT, embed_tokens
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import pretrain_projector, pretraining_row
from armillary.methods.vector_icl.prompts import Ids, Layout, Row, joined, text_ids, text_of
from armillary.methods.vector_icl.training import TrainingCurve, row_losses
from armillary.numerics.least_squares import fit_linear
from armillary.scoring.decoding import end_tokens
from reproductions.vector_icl.data.glosses import Gloss, load_glosses
from reproductions.vector_icl.scale import SNRS, Training
from reproductions.vector_icl.setup import Context, Payload, constant, hashed_words, synthetic_glosses

# How likely, and how well said again, texts are behind boxes of their own, of others, and of nothing. [derived]
#
# Legend: N texts, D hidden size, K shown pairs.

TRUE, SHUFFLED = "true", "shuffled"
SOME = 32
"""Texts that are said again, and that are scored behind training pairs: both cost most."""

_LONGEST, _EXAMPLES = 24, 4


def derangement(count: int, seed: int) -> list[int]:
    """For each of ``count`` things another one, drawn by the seed; none gets itself where there are two or more."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, dtype=int)
    other[order] = np.roll(order, 1)
    found: list[int] = other.tolist()
    return found


class Scored:
    """Held-out texts whose losses are wanted behind one box or another."""

    def __init__(self, context: Context, texts: Sequence[str]) -> None:
        self.loaded, self.texts = context.loaded, list(texts)
        self.start = Layout.of(context.loaded, SlotTemplate()).start()
        self.ids = [text_ids(context.loaded, text) for text in texts]
        self.others = derangement(len(texts), context.seed)

    def both(self, slots_ND: Tensor) -> dict[str, list[float]]:
        """Behind their own box and behind another text's."""
        return {TRUE: self.alone(slots_ND), SHUFFLED: self.alone(slots_ND[self.others])}

    def alone(self, slots_ND: Tensor | None) -> list[float]:
        """Mean nats a token of each text, with nothing in front but ``<bos>`` and its box (None: no box).

        The end token is left out: whether a text is known shows in its words.
        """
        first = self.start
        if slots_ND is None and not len(first):  # a text needs something before its first token
            first = Row(tuple(end_tokens(self.loaded)[:1]), (), (False,))
        slots = [None] * len(self.ids) if slots_ND is None else list(range(len(self.ids)))
        return self._means([_told(first, ids, box) for ids, box in zip(self.ids, slots, strict=True)], slots_ND)

    def behind(self, shown: Sequence[str], shown_KD: Tensor, slots_ND: Tensor) -> dict[str, list[float]]:
        """The first texts as ``both``, with training pairs in front; only the texts themselves are scored."""
        pairs = joined([pretraining_row(self.loaded, index, text) for index, text in enumerate(shown)])
        before = joined([self.start, Row(pairs.tokens, pairs.vectors, (False,) * len(pairs))])
        rows = [_told(before, ids, len(shown) + index) for index, ids in enumerate(self.ids[:SOME])]
        tables = {TRUE: slots_ND, SHUFFLED: slots_ND[self.others]}
        return {name: self._means(rows, torch.cat([shown_KD, table_ND])) for name, table_ND in tables.items()}

    def said(self, slots_ND: Tensor) -> Payload:
        """The first texts said again behind their own box and behind another's: F1 of words, and a few examples."""
        told = {TRUE: self._greedy(slots_ND[:SOME]), SHUFFLED: self._greedy(slots_ND[self.others][:SOME])}
        scores = {
            name: [token_f1(*pair) for pair in zip(some, self.texts, strict=False)] for name, some in told.items()
        }
        return {
            "f1": scores,
            "examples": [list(pair) for pair in zip(self.texts[:_EXAMPLES], told[TRUE], strict=False)],
        }

    @torch.inference_mode()
    def _greedy(self, slots_ND: Tensor) -> list[str]:
        loaded = self.loaded
        begin = embed_tokens(loaded, torch.tensor(self.start.tokens, dtype=torch.long, device=loaded.device))
        asked = SharedPrefix(loaded, begin[None]).read(slots_ND[:, None].to(begin.dtype))
        told = continue_queries(loaded, asked, max_new_tokens=_LONGEST, stop_ids=end_tokens(loaded))
        return [text_of(loaded, ids) for ids in told]

    def _means(self, rows: Sequence[Row], table_ND: Tensor | None) -> list[float]:
        width = self.loaded.anatomy.embedding.embedding_dim

        def slots(chosen: Sequence[int]) -> Tensor:
            return torch.empty((0, width)).to(self.loaded.device) if table_ND is None else table_ND[list(chosen)]

        found = row_losses(self.loaded, rows, slots)
        means: list[float] = (found.nll / found.tokens).tolist()
        return means


def _told(before: Row, ids: Ids, box: int | None) -> Row:
    """A text to be scored, behind its box."""
    slot, vectors = ((), ()) if box is None else ((SLOT,), (box,))
    unlearned = (*before.learned, *(False for _ in slot))
    return Row((*before.tokens, *slot, *ids), (*before.vectors, *vectors), (*unlearned, *(True for _ in ids)))


PAPER, WARM, SOFT = "paper's start", "warm start", "soft prompt"
BEHIND = 8
"""Training pairs in front of the texts of the second reading."""

CHANNELS = 200
"""Numbers of a simulated recording."""


def is_test(text: str) -> bool:
    """One text in five, by its hash: whatever the seed or row, training and test never share a text."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) % 5 == 0


def gloss_split(context: Context) -> tuple[list[Gloss], list[Gloss]]:
    """Glosses of the training and held-out ones, as many as the scale says, drawn by the seed."""
    glosses = synthetic_glosses() if context.scale.synthetic else load_glosses()
    generator = np.random.default_rng(context.seed)
    mixed = [glosses[place] for place in generator.permutation(len(glosses))]
    train = [gloss for gloss in mixed if not is_test(gloss.text)]
    held_out = [gloss for gloss in mixed if is_test(gloss.text)]
    return train[: context.scale.texts], held_out[: context.scale.held_out_texts]


def gloss_vectors(context: Context, name: str, texts: Sequence[str]) -> Vectors:
    """Unit vectors ``[n, e]`` of the texts, float32; kept by name, so that they are encoded once a run."""

    def compute() -> dict[str, NDArray[Any]]:
        if context.scale.synthetic:
            return {"vectors": hashed_words(texts)}
        from reproductions.vector_icl.data.text_encoder import load_text_encoder

        return {"vectors": np.asarray(load_text_encoder().encode(list(texts)), dtype=np.float32)}

    kept: Vectors = context.parts.arrays(f"vectors of texts, {name}", compute)["vectors"]
    return kept


def pretrained_projector(context: Context) -> Projector:
    """The projector that R1 pretrains from the warm start."""
    texts, vectors = _encoded(context)[0]
    return _pretrained(context, WARM, texts, vectors)[0]


def text_rows(context: Context) -> Payload:
    """R1: losses of every held-out text by projector and box, alone and behind training pairs, and texts said again.

    ``nll``: projector -> box -> mean nats a token of each text; ``none`` has no box; ``packed`` is of the first texts
    behind eight training pairs; ``said`` holds F1 of words; ``losses`` are those of the trainings.
    """
    (texts, vectors), (asked, held_out) = _encoded(context)
    scored = Scored(context, asked)
    projectors = {f"untrained {start}": _start(context, start, texts, vectors) for start in (PAPER, WARM)}
    losses: dict[str, list[float]] = {}
    for start in (PAPER, WARM):
        projectors[start], losses[start] = _pretrained(context, start, texts, vectors)
    soft, losses[SOFT] = _pretrained(context, SOFT, texts, constant(vectors))
    nll: dict[str, dict[str, list[float]]] = {}
    packed: dict[str, dict[str, list[float]]] = {}
    for name, projector in projectors.items():
        slots_ND = slots_of(projector, held_out)
        nll[name] = scored.both(slots_ND)
        if name in (PAPER, WARM):
            packed[name] = scored.behind(texts[:BEHIND], slots_of(projector, vectors[:BEHIND]), slots_ND)
    nll[SOFT] = {TRUE: scored.alone(slots_of(soft, constant(held_out)))}
    said = scored.said(slots_of(projectors[WARM], held_out))
    return {"nll": nll, "none": scored.alone(None), "packed": packed, "said": said, "losses": losses}


def signal_rows(context: Context) -> Payload:
    """R9: ``v = A f(text) + noise`` with 200 numbers; losses by box, and what a linear decoder finds there.

    By signal-to-noise ratio (of variances): ``nll`` as in ``text_rows``; ``top1`` is 1 for each held-out text that
    ``decoded`` names rightly among them all.
    """
    (texts, vectors), (asked, held_out) = _encoded(context)
    scored = Scored(context, asked)
    found: Payload = {"snr": {}, "chance": 1 / len(asked)}
    for name in SNRS:
        signals = simulated(vectors, held_out, float(name), context.seed)
        start = partial(context.new_projector, signals[0], start_texts=texts)
        projector, losses = _trained(context, f"signals, {name}", start, texts, signals[0], context.scale.signals)
        found["snr"][name] = {
            "nll": scored.both(slots_of(projector, signals[1])),
            "top1": decoded(signals, (vectors, held_out)),
            "losses": losses,
        }
    return found


def simulated(train: Vectors, held_out: Vectors, snr: float, seed: int) -> tuple[Vectors, Vectors]:
    """Signals ``[n, 200]`` of both parts through one Gaussian matrix, with noise, standardised on the first part."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(train.shape[1], CHANNELS)) / np.sqrt(train.shape[1])
    clean = [some @ mixing for some in (train, held_out)]
    deviation = np.sqrt(clean[0].var(0).mean() / snr)
    noisy = [some + deviation * generator.normal(size=some.shape) for some in clean]
    kept = standardised(noisy[0], noisy[1])
    return kept[0], kept[1]


def decoded(signals: tuple[Vectors, Vectors], encoded: tuple[Vectors, Vectors]) -> list[float]:
    """1 for each held-out signal whose ridge prediction is nearest (cosine) to its own text's vector, else 0.

    Both pairs are of the training part and the held-out one; the ridge is fitted on the first.
    """
    fit = fit_linear(torch.from_numpy(signals[0]), torch.from_numpy(encoded[0]), "gcv")
    mean = encoded[0].mean(0)
    told = fit.predict(torch.from_numpy(signals[1])).numpy() - mean
    known = encoded[1] - mean
    near = told @ (known / np.linalg.norm(known, axis=1, keepdims=True).clip(1e-9)).T
    right: list[float] = (near.argmax(1) == np.arange(len(near))).astype(float).tolist()
    return right


@torch.inference_mode()
def slots_of(projector: Projector, vectors: Vectors) -> Tensor:
    """``[n, d]`` on the projector's device."""
    given: Tensor = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(projector.into.weight.device)
    slots: Tensor = projector(given)
    return slots


def _encoded(context: Context) -> list[tuple[list[str], Vectors]]:
    """Texts and vectors of the training and the held-out part."""
    parts = [[gloss.text for gloss in part] for part in gloss_split(context)]
    names = ("pretraining", "held out")
    return [(texts, gloss_vectors(context, name, texts)) for name, texts in zip(names, parts, strict=True)]


def _start(context: Context, start: str, texts: list[str], vectors: Vectors) -> Projector:
    if start == SOFT:
        return context.soft_prompt()
    return (
        context.new_projector(vectors, norm="none")
        if start == PAPER
        else context.new_projector(vectors, start_texts=texts)
    )


def _pretrained(context: Context, start: str, texts: list[str], vectors: Vectors) -> tuple[Projector, list[float]]:
    begin = partial(_start, context, start, texts, vectors)
    return _trained(context, f"pretrained, {start}", begin, texts, vectors, context.scale.pretraining)


def _trained(
    context: Context, name: str, start: Any, texts: list[str], vectors: Vectors, training: Training
) -> tuple[Projector, list[float]]:
    def train(projector: Projector, table_NE: Tensor, config: TrainingConfig) -> TrainingCurve:
        return pretrain_projector(context.loaded, projector, table_NE, texts, config)

    return context.trained(name, start, vectors, train, training)
