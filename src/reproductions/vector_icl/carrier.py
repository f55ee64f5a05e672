"""Few-shot prompts whose inputs are vectors or text, with the same template, demonstrations and answers.

What an arm of a row answers is kept as scores: ``ArmRow`` is what most stages leave.

Legend: N inputs, E encoder width, D hidden size, T tokens, L labels, B queries of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.decoding import (
    SharedPrefix,
    continue_queries,
    distinct_labels,
    label_log_probabilities,
)
from armillary.methods.vector_icl.embedding import embed_tokens, embed_with_slots
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.prompts import Ids, Layout, text_ids, text_of
from armillary.models import LoadedModel
from armillary.scoring.decoding import end_tokens

_AT_ONCE = 32
"""Queries of a batch: bounds memory, changes no answer."""


Scores = dict[str, dict[str, list[float]]]
"""Arm -> number of shots -> score of each query, draw by draw; every draw has as many."""


@dataclass(frozen=True, kw_only=True)
class ArmRow:
    """One task with one trained projector; all arms share demonstrations and queries of every draw."""

    task: str
    shots: list[int]
    draws: int
    scores: Scores
    """1 for a query whose likeliest label is right, after calibration where the arm has a language model."""

    raw: Scores
    """The same without calibration; of arms with a language model."""

    whole: dict[str, list[float]] = field(default_factory=dict)
    """The scores of what needs no demonstrations."""

    tokens: dict[str, float] = field(default_factory=dict)
    """Of a demonstration, by ``vectors`` and ``text``."""

    losses: list[float] = field(default_factory=list)
    """Of the projector's training, nats a learned token before each step."""

    chance: float = 0.0
    """Also the balanced accuracy of one answer for all."""


@dataclass(frozen=True, eq=False)
class Carrier:
    """Inputs of one kind as a prompt shows them: each as its slots, or as its text where a slot would stand."""

    loaded: LoadedModel
    layout: Layout
    slots_ND: Tensor | None = None
    """``slots`` neighbours an input."""

    texts: tuple[tuple[Ids, ...], ...] | None = None
    """Of each input the tokens that stand in its slots."""

    @classmethod
    @torch.inference_mode()
    def of_vectors(
        cls, loaded: LoadedModel, template: SlotTemplate, projector: Projector, vectors_NE: Vectors
    ) -> "Carrier":
        """``template.slots`` neighbouring rows an input."""
        given = torch.as_tensor(np.asarray(vectors_NE, dtype=np.float32)).to(loaded.device)
        return cls(loaded, Layout.of(loaded, template), slots_ND=projector(given))

    @classmethod
    def of_texts(cls, loaded: LoadedModel, template: SlotTemplate, texts: Sequence[str | Sequence[str]]) -> "Carrier":
        """One text an input, or one for each of its slots."""
        pieces = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        ids = tuple(tuple(text_ids(loaded, piece) for piece in row) for row in pieces)
        return cls(loaded, Layout.of(loaded, template), texts=ids)

    def length(self, index: int) -> int:
        """Tokens of a question."""
        plain = sum(map(len, self.layout.pieces))
        return plain + (self.layout.slots if self.texts is None else sum(map(len, self.texts[index])))

    def question(self, index: int) -> Tensor:
        """Embeddings of the template around one input, without its answer, ``[t, d]``."""
        if self.texts is None:
            assert self.slots_ND is not None
            row = self.layout.question(index)
            ids_BT = torch.tensor([row.tokens], device=self.loaded.device)
            return embed_with_slots(self.loaded, ids_BT, self.slots_ND[list(row.vectors)])[0]
        ids: Ids = self.layout.pieces[0]
        for slot, piece in zip(self.texts[index], self.layout.pieces[1:], strict=True):
            ids = ids + slot + piece
        return self._embedded(ids)

    def demonstrations(self, chosen: Sequence[int], answers: Sequence[str]) -> list[Tensor]:
        """Embeddings of what a sequence begins with, then of each chosen input with its answer."""
        parts = [self._embedded(self.layout.begin)]
        for index, answer in zip(chosen, answers, strict=True):
            answer_ids = text_ids(self.loaded, answer) + self.layout.separator
            parts.append(torch.cat([self.question(index), self._embedded(answer_ids)]))
        return parts

    def _embedded(self, ids: Ids) -> Tensor:
        return embed_tokens(self.loaded, torch.tensor(ids, dtype=torch.long, device=self.loaded.device))


Pair = tuple[Carrier, Carrier]
"""What is shown, and the queries."""


def vector_pair(
    loaded: LoadedModel, template: SlotTemplate, projector: Projector, train: Vectors, test: Vectors
) -> Pair:
    """Both as the projector's slots."""
    shown, queries = (Carrier.of_vectors(loaded, template, projector, table) for table in (train, test))
    return shown, queries


def text_pair(loaded: LoadedModel, template: SlotTemplate, train: Sequence[str], test: Sequence[str]) -> Pair:
    """Both as text."""
    return Carrier.of_texts(loaded, template, train), Carrier.of_texts(loaded, template, test)


@dataclass(frozen=True, eq=False)
class Prompt:
    """Demonstrations that were read, in front of any queries."""

    prefix: SharedPrefix
    layout: Layout

    @classmethod
    @torch.inference_mode()
    def of(cls, shown: Carrier, chosen: Sequence[int], answers: Sequence[str]) -> "Prompt":
        """``chosen`` inputs of the carrier with their answers; none of them is zero-shot."""
        embeds_TD = torch.cat(shown.demonstrations(chosen, answers))
        return cls(SharedPrefix(shown.loaded, embeds_TD[None]), shown.layout)

    @property
    def loaded(self) -> LoadedModel:
        return self.prefix.loaded

    def label_scores(self, queries: Carrier, indices: Sequence[int], labels: Sequence[str]) -> NDArray[np.float64]:
        """Log-probability (nats) of each whole label after each query, ``[n, l]``."""
        ids = distinct_labels([text_ids(self.loaded, label) for label in labels], self.layout.separator)
        out = np.empty((len(indices), len(labels)))
        for positions, embeds_BTD in _batches(queries, indices):
            out[positions] = label_log_probabilities(self.loaded, self.prefix.read(embeds_BTD), ids).numpy()
        return out

    def best_labels(
        self, pair: Pair, queries: Sequence[int], calibration: Sequence[int], labels: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """The likeliest label of each query, calibrated and as it is.

        Calibrated scores are less their mean over the inputs ``calibration`` of what is shown, as many of each class
        and none of them a demonstration: a label that is likely whatever stands in the slot gains nothing (after the
        contextual calibration of Zhao and others 2021, whose inputs are without content).
        """
        scores = self.label_scores(pair[1], queries, labels)
        bias = self.label_scores(pair[0], calibration, labels).mean(0)
        calibrated, raw = ([labels[best] for best in table.argmax(1).tolist()] for table in (scores - bias, scores))
        return calibrated, raw

    def answers(
        self, queries: Carrier, indices: Sequence[int], max_new_tokens: int, *, allowed: Sequence[int] | None = None
    ) -> list[str]:
        """Greedy text after each query, cut at the separator or the end token."""
        stops = end_tokens(self.loaded)
        stops += [token for token in self.layout.separator if len(self.layout.separator) == 1]
        mark = text_of(self.loaded, self.layout.separator)
        out = [""] * len(indices)
        for positions, embeds_BTD in _batches(queries, indices):
            answers = continue_queries(
                self.loaded,
                self.prefix.read(embeds_BTD),
                max_new_tokens=max_new_tokens,
                stop_ids=stops,
                allowed=allowed,
            )
            for position, ids in zip(positions, answers, strict=True):
                out[position] = text_of(self.loaded, ids).split(mark)[0]
        return out


def _batches(queries: Carrier, indices: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Queries of equal length together, so that nothing is padded: their positions in ``indices``, and embeddings."""
    of_length: dict[int, list[int]] = {}
    for position, index in enumerate(indices):
        of_length.setdefault(queries.length(index), []).append(position)
    for positions in of_length.values():
        for start in range(0, len(positions), _AT_ONCE):
            batch = positions[start : start + _AT_ONCE]
            yield batch, torch.stack([queries.question(indices[position]) for position in batch])
