"""Few-shot prompts whose inputs are vectors or text, with the same template, demonstrations and answers.

Legend: N inputs, E encoder width, D hidden size, T tokens, L labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.config import Template
from armillary.methods.vector_icl.embedding import embed_tokens, embed_with_boxes
from armillary.methods.vector_icl.generate import continue_queries
from armillary.methods.vector_icl.layout import Ids, Layout, text_ids, text_of
from armillary.methods.vector_icl.prefix import SharedPrefix, distinct_labels, label_log_probabilities
from armillary.methods.vector_icl.projector import Projector
from armillary.models import LoadedModel
from armillary.scoring.greedy import end_tokens

_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Carrier:
    """Inputs of one kind as a prompt shows them: each as its boxes, or as its text where the box would stand."""

    loaded: LoadedModel
    layout: Layout
    boxes_ND: Tensor | None = None
    """``boxes`` neighbours an input."""

    texts: tuple[tuple[Ids, ...], ...] | None = None
    """Of each input the tokens that stand in its slots."""

    @classmethod
    @torch.inference_mode()
    def of_vectors(
        cls, loaded: LoadedModel, template: Template, projector: Projector, vectors_NE: NDArray[np.float32]
    ) -> "Carrier":
        """``template.boxes`` neighbouring rows an input."""
        given = torch.as_tensor(np.asarray(vectors_NE, dtype=np.float32)).to(loaded.device)
        return cls(loaded, Layout.of(loaded, template), boxes_ND=projector(given))

    @classmethod
    def of_texts(cls, loaded: LoadedModel, template: Template, texts: Sequence[str | Sequence[str]]) -> "Carrier":
        """One text an input, or one for each of its slots."""
        told = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        ids = tuple(tuple(text_ids(loaded, piece) for piece in pieces) for pieces in told)
        return cls(loaded, Layout.of(loaded, template), texts=ids)

    def length(self, index: int) -> int:
        """Tokens of a question."""
        plain = sum(map(len, self.layout.pieces))
        return plain + (self.layout.boxes if self.texts is None else sum(map(len, self.texts[index])))

    def question(self, index: int) -> Tensor:
        """Embeddings of the template around one input, without its answer, ``[t, d]``."""
        if self.texts is None:
            assert self.boxes_ND is not None
            row = self.layout.question(index)
            ids_BT = torch.tensor([row.tokens], device=self.loaded.device)
            return embed_with_boxes(self.loaded, ids_BT, self.boxes_ND[list(row.vectors)])[0]
        ids: Ids = self.layout.pieces[0]
        for slot, piece in zip(self.texts[index], self.layout.pieces[1:], strict=True):
            ids = ids + slot + piece
        return self._embedded(ids)

    def _embedded(self, ids: Ids) -> Tensor:
        return embed_tokens(self.loaded, torch.tensor(ids, dtype=torch.long, device=self.loaded.device))


@dataclass(frozen=True, eq=False)
class Prompt:
    """Demonstrations that were read, in front of any queries."""

    prefix: SharedPrefix
    layout: Layout

    @classmethod
    @torch.inference_mode()
    def of(cls, shown: Carrier, chosen: Sequence[int], answers: Sequence[str]) -> "Prompt":
        """``chosen`` inputs of the carrier with their answers; none of them is zero-shot."""
        loaded, layout = shown.loaded, shown.layout
        parts = [shown._embedded(layout.begin)]
        for index, answer in zip(chosen, answers, strict=True):
            parts += [shown.question(index), shown._embedded(text_ids(loaded, answer) + layout.separator)]
        return cls(SharedPrefix(loaded, torch.cat(parts)[None]), layout)

    @property
    def loaded(self) -> LoadedModel:
        return self.prefix.loaded

    def label_scores(self, queries: Carrier, indices: Sequence[int], labels: Sequence[str]) -> NDArray[np.float64]:
        """Log-probability (nats) of each whole label after each query, ``[n, l]``."""
        ids = distinct_labels([text_ids(self.loaded, label) for label in labels], self.layout.separator)
        out = np.empty((len(indices), len(labels)))
        for places, embeds_BTD in _batches(queries, indices):
            out[places] = label_log_probabilities(self.loaded, self.prefix.ask(embeds_BTD), ids).numpy()
        return out

    def answers(
        self, queries: Carrier, indices: Sequence[int], max_new_tokens: int, *, allowed: Sequence[int] | None = None
    ) -> list[str]:
        """Greedy text after each query, cut at the separator or the end token."""
        stops = [*end_tokens(self.loaded), *self.layout.separator]
        mark = text_of(self.loaded, self.layout.separator)
        out = [""] * len(indices)
        for places, embeds_BTD in _batches(queries, indices):
            told = continue_queries(
                self.loaded,
                self.prefix.ask(embeds_BTD),
                max_new_tokens=max_new_tokens,
                stop_ids=stops if len(self.layout.separator) == 1 else end_tokens(self.loaded),
                allowed=allowed,
            )
            for place, ids in zip(places, told, strict=True):
                out[place] = text_of(self.loaded, ids).split(mark)[0]
        return out


def _batches(queries: Carrier, indices: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Queries of equal length together, so that nothing is padded: their places in ``indices``, their embeddings."""
    of_length: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        of_length.setdefault(queries.length(index), []).append(place)
    for places in of_length.values():
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            yield some, torch.stack([queries.question(indices[place]) for place in some])
