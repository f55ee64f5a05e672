"""How likely, and how well said again, texts are behind boxes of their own, of others, and of nothing. [derived]

Legend: N texts, D hidden size, K shown pairs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from armillary.experiments.vector_icl_lab import Laboratory, Payload
from armillary.methods.vector_icl.config import Template
from armillary.methods.vector_icl.embedding import SLOT, embed_tokens
from armillary.methods.vector_icl.generate import continue_queries
from armillary.methods.vector_icl.layout import Ids, Layout, Row, joined, text_ids, text_of
from armillary.methods.vector_icl.losses import row_losses
from armillary.methods.vector_icl.prefix import SharedPrefix
from armillary.methods.vector_icl.pretrain import pretraining_row
from armillary.methods.vector_icl.spoken import token_f1
from armillary.scoring.greedy import end_tokens

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

    def __init__(self, lab: Laboratory, texts: Sequence[str]) -> None:
        self.loaded, self.texts = lab.loaded, list(texts)
        self.start = Layout.of(lab.loaded, Template()).start()
        self.ids = [text_ids(lab.loaded, text) for text in texts]
        self.others = derangement(len(texts), lab.seed)

    def both(self, boxes_ND: Tensor) -> dict[str, list[float]]:
        """Behind their own box and behind another text's."""
        return {TRUE: self.alone(boxes_ND), SHUFFLED: self.alone(boxes_ND[self.others])}

    def alone(self, boxes_ND: Tensor | None) -> list[float]:
        """Mean nats a token of each text, with nothing in front but ``<bos>`` and its box (None: no box).

        The end token is left out: whether a text is known shows in its words.
        """
        first = self.start
        if boxes_ND is None and not len(first):  # a text needs something before its first token
            first = Row(tuple(end_tokens(self.loaded)[:1]), (), (False,))
        boxes = [None] * len(self.ids) if boxes_ND is None else list(range(len(self.ids)))
        return self._means([_told(first, ids, box) for ids, box in zip(self.ids, boxes, strict=True)], boxes_ND)

    def behind(self, shown: Sequence[str], shown_KD: Tensor, boxes_ND: Tensor) -> dict[str, list[float]]:
        """The first texts as ``both``, with training pairs in front; only the texts themselves are scored."""
        pairs = joined([pretraining_row(self.loaded, index, text) for index, text in enumerate(shown)])
        before = joined([self.start, Row(pairs.tokens, pairs.vectors, (False,) * len(pairs))])
        rows = [_told(before, ids, len(shown) + index) for index, ids in enumerate(self.ids[:SOME])]
        tables = {TRUE: boxes_ND, SHUFFLED: boxes_ND[self.others]}
        return {name: self._means(rows, torch.cat([shown_KD, table_ND])) for name, table_ND in tables.items()}

    def said(self, boxes_ND: Tensor) -> Payload:
        """The first texts said again behind their own box and behind another's: F1 of words, and a few examples."""
        told = {TRUE: self._greedy(boxes_ND[:SOME]), SHUFFLED: self._greedy(boxes_ND[self.others][:SOME])}
        scores = {
            name: [token_f1(*pair) for pair in zip(some, self.texts, strict=False)] for name, some in told.items()
        }
        return {
            "f1": scores,
            "examples": [list(pair) for pair in zip(self.texts[:_EXAMPLES], told[TRUE], strict=False)],
        }

    @torch.inference_mode()
    def _greedy(self, boxes_ND: Tensor) -> list[str]:
        loaded = self.loaded
        begin = embed_tokens(loaded, torch.tensor(self.start.tokens, dtype=torch.long, device=loaded.device))
        asked = SharedPrefix(loaded, begin[None]).ask(boxes_ND[:, None].to(begin.dtype))
        told = continue_queries(loaded, asked, max_new_tokens=_LONGEST, stop_ids=end_tokens(loaded))
        return [text_of(loaded, ids) for ids in told]

    def _means(self, rows: Sequence[Row], table_ND: Tensor | None) -> list[float]:
        width = self.loaded.anatomy.embedding.embedding_dim

        def boxes(chosen: Sequence[int]) -> Tensor:
            return torch.empty((0, width)).to(self.loaded.device) if table_ND is None else table_ND[list(chosen)]

        found = row_losses(self.loaded, rows, boxes)
        means: list[float] = (found.nll / found.tokens).tolist()
        return means


def _told(before: Row, ids: Ids, box: int | None) -> Row:
    """A text to be scored, behind its box."""
    slot, vectors = ((), ()) if box is None else ((SLOT,), (box,))
    unlearned = (*before.learned, *(False for _ in slot))
    return Row((*before.tokens, *slot, *ids), (*before.vectors, *vectors), (*unlearned, *(True for _ in ids)))
