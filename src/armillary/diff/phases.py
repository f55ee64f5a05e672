"""The phases of a diff, one model in memory at a time, each batch kept as it is finished.

base reads the texts, answers the prompts and is asked a second time for the noise floor; after reads the texts,
answers, and scores base's answers; with a budget for it base is opened once more and scores after's. Nothing is
opened for a phase that is finished, so that a killed run goes on at the batch where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from armillary.diff.asking import (
    BATCH,
    Authored,
    Visit,
    gathered,
    group_of,
    read_texts,
    visit_batch,
    without_divergence,
)
from armillary.diff.evidence import Evidence, Replies, Role
from armillary.diff.kept import WAYS, Crossed, Scored, Way
from armillary.diff.pair import Side
from armillary.diff.plan import MAX_TEXT_TOKENS
from armillary.diff.prompts import rendered
from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.models.prompts import prompt_rows, text_ids
from armillary.progress import counted, piece
from armillary.runs.parts import Arrays

EVERY = 4
"""Of the texts one in so many is read a second time: only rounding differs, which a few tell as well as all."""

AGAIN_BATCH, AGAIN_TOKENS = 24, 1024
"""Prompts and tokens of a batch in the second reading: other batches round differently."""

LEAST_SHARED = 0.9
"""Share of the smaller vocabulary that both must have under the same ids: fewer is another tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Prompts and texts as one model reads them."""

    rendered: list[str]
    rows: list[list[int]]
    """Tokens of each prompt."""

    questions: list[list[int]]
    """Tokens of each question."""

    expected: list[list[list[int]]]
    """Tokens of each question's choices, or of its one answer."""

    texts: list[list[int]]
    text_bytes: list[int]


def material(loaded: LoadedModel, evidence: Evidence) -> Material:
    """UsageError naming a prompt that leaves no room for an answer; others as in ``encode``."""
    tokenizer, texts, answer_tokens = loaded.tokenizer, evidence.texts, evidence.sizes.answer_tokens
    prompts = [*evidence.prompts, *evidence.questions]
    requests = [rendered(tokenizer, prompt) for prompt in prompts]
    rows = encode(loaded, requests)
    for prompt, row in zip(prompts, rows, strict=True):
        if loaded.max_positions is not None and len(row) + answer_tokens > loaded.max_positions:
            raise UsageError(
                f"The prompt {prompt.id} has {len(row)} tokens, and {loaded.name} has {loaded.max_positions} "
                f"positions for it and an answer of {answer_tokens}; give a shorter one."
            )
    count = len(evidence.prompts)
    expected = []
    for question, text in zip(evidence.questions, requests[count:], strict=True):
        # Behind a template the answer begins at once; a bare prompt is gone on with after a blank.
        blank = "" if tokenizer.chat_template or text[-1:].isspace() else " "
        expected.append([text_ids(loaded, blank + answer) for answer in question.expected])
    text_rows = encode(loaded, [text.text for text in texts], max_tokens=MAX_TEXT_TOKENS, least=2)
    whole = prompt_rows(loaded, [text.text for text in texts])
    text_bytes = [
        len((text.text if row == ids else str(tokenizer.decode(row, skip_special_tokens=True))).encode())
        for text, row, ids in zip(texts, text_rows, whole, strict=True)
    ]
    return Material(
        rendered=requests[:count],
        rows=rows[:count],
        questions=rows[count:],
        expected=expected,
        texts=text_rows,
        text_bytes=text_bytes,
    )


def vocabulary(loaded: LoadedModel) -> list[str | None]:
    """The token of each id; None for a row that is no token."""
    names = loaded.tokenizer.convert_ids_to_tokens(list(range(loaded.anatomy.vocabulary_size)))
    return [name if index in loaded.known_ids else None for index, name in enumerate(names)]


def same_tokens(first: Sequence[str | None], second: Sequence[str | None]) -> bool:
    """True where no id means two things and nearly all of the smaller vocabulary is in both."""
    both = [(a, b) for a, b in zip(first, second, strict=False) if a is not None and b is not None]
    smaller = min(sum(name is not None for name in names) for names in (first, second))
    return all(a == b for a, b in both) and len(both) >= LEAST_SHARED * smaller


class Phases:
    """Fills the evidence, phase by phase."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        # Read back once: a vocabulary is large.
        self._read: dict[Side, Material] = {}
        self._tokens: dict[Side, list[str | None]] = {}

    def base(self) -> Evidence:
        """Base's answers and scores, and those of its second reading."""
        first = self.evidence
        own = self._material("base")
        self._vocabulary("base")  # while base is open: after is compared with it
        label = "texts of base"
        texts = self._kept(label, lambda: read_texts(self._open("base"), own.texts, label=label))
        visit = self._visit(own, writes=True)
        answers = self._answers("base", visit, "base answers")
        scored = {way: Scored.of(group_of(way, answers)) for way in WAYS}
        author = Authored(ids={way: _rows(scored[way]) for way in WAYS}, scored=scored)
        # Other numbers, other batches, the longest first: what differs is noise.
        again_visit = replace(
            self._visit(own, writes=True),
            seed=(first.config.seed, 1),
            keeps=False,
            authored=author,
            batch=AGAIN_BATCH,
            reverse=True,
        )
        again = self._answers("base", again_visit, "base answers a second time")
        chosen = list(range(0, len(own.texts), EVERY))
        text_scores = Scored.of(texts)
        reread = self._kept(
            "texts of base a second time",
            lambda: read_texts(
                self._open("base"),
                [own.texts[index] for index in chosen],
                text_scores,
                theirs=chosen,
                tokens_per_batch=AGAIN_TOKENS,
                label="texts of base a second time",
            ),
        )
        self.evidence = replace(
            first,
            rendered=own.rendered,
            text_scores=text_scores,
            text_bytes={"base": own.text_bytes},
            again_texts=chosen,
            text_crossed={"again": Crossed.of(reread)},
            replies=_replies("base", answers) | _replies("again", again),
            own={("base", way): scored[way] for way in WAYS},
            crossed={("again", "base", way): Crossed.of(group_of(f"{way} crossed", again)) for way in WAYS},
            expected={"base": self._expected("base", own)},
        )
        return self.evidence

    def after(self) -> Evidence:
        """After's answers and scores, and what it says of base's."""
        first = self.evidence
        own = self._material("after")
        same = same_tokens(self._vocabulary("base"), self._vocabulary("after"))
        texts = self._kept("texts of after", lambda: self._texts_of_after(own, same))
        visit = replace(self._visit(own, writes=True), authored=self._authored("base", "after", same))
        answers = self._answers("after", visit, "after answers")
        self.evidence = replace(
            first,
            same_tokens=same,
            text_crossed={**first.text_crossed, "after": Crossed.of(texts)},
            text_bytes={**first.text_bytes, "after": own.text_bytes},
            replies={**first.replies, **_replies("after", answers)},
            own={**first.own, **{("after", way): Scored.of(group_of(way, answers)) for way in WAYS}},
            crossed={
                **first.crossed,
                **{("after", "base", way): Crossed.of(group_of(f"{way} crossed", answers)) for way in WAYS},
            },
            expected={**first.expected, "after": self._expected("after", own)},
        )
        return self.evidence

    def base_again(self) -> Evidence:
        """What base says of after's answers."""
        first = self.evidence
        own = self._material("base")
        visit = replace(self._visit(own, writes=False), authored=self._authored("after", "base", first.same_tokens))
        scores = self._answers("base", visit, "base reads the answers of after")
        crossed: dict[tuple[Role, Side, Way], Crossed] = {
            ("base", "after", way): Crossed.of(group_of(f"{way} crossed", scores)) for way in WAYS
        }
        self.evidence = replace(first, crossed={**first.crossed, **crossed})
        return self.evidence

    def _open(self, side: Side) -> LoadedModel:
        return self.evidence.pair.open(side)

    def _kept(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        with piece(name):  # done as well where it was kept by an earlier run
            return self.evidence.parts.mapped(name, compute)

    def _material(self, side: Side) -> Material:
        if side not in self._read:
            first = self.evidence
            self._read[side] = first.parts.decoded(
                Material, f"material of {side}", lambda: material(self._open(side), first)
            )
        return self._read[side]

    def _vocabulary(self, side: Side) -> list[str | None]:
        if side not in self._tokens:
            self._tokens[side] = self.evidence.parts.json(
                f"vocabulary of {side}", lambda: vocabulary(self._open(side))
            )
        return self._tokens[side]

    def _visit(self, own: Material, *, writes: bool) -> Visit:
        first = self.evidence
        tokens = first.sizes.answer_tokens if writes else 0
        return Visit(rows=own.rows, tokens=tokens, seed=(first.config.seed, 0), batch=BATCH)

    def _expected(self, side: Side, own: Material) -> list[NDArray[np.float64]]:
        """Log-probabilities of each question's choices."""
        if not own.questions:
            return []
        visit = Visit(rows=own.questions, expected=own.expected, batch=BATCH)
        answers = self._answers(side, visit, f"questions to {side}")
        nats: NDArray[np.float64] = np.asarray(answers["expected.nats"])
        return [nats[start:end] for start, end in pairwise(answers["expected.offsets"])]

    def _authored(self, author: Side, scorer: Side, same: bool) -> Authored:
        """An author's answers in the scorer's tokens."""
        first = self.evidence
        if not same:
            # Tokenised when they are scored, as that needs the scorer's tokenizer.
            texts = {way: first.replies[author, way].texts for way in WAYS}
            ids = first.parts.json(
                f"answers of {author} in the tokens of {scorer}",
                lambda: {way: [text_ids(self._open(scorer), text) for text in texts[way]] for way in WAYS},
            )
            return Authored(ids=ids, scored=None)
        known = {index for index, name in enumerate(self._vocabulary(scorer)) if name is not None}
        scored = {way: first.own[author, way] for way in WAYS}
        # An answer ends, for the scorer, before the first token that it does not have.
        ids = {way: [[*takewhile(known.__contains__, row)] for row in _rows(scored[way])] for way in WAYS}
        return Authored(ids=ids, scored=scored)

    def _texts_of_after(self, own: Material, same: bool) -> Arrays:
        if same:
            return read_texts(self._open("after"), own.texts, self.evidence.text_scores, label="texts of after")
        scored = read_texts(self._open("after"), own.texts, label="texts of after")
        return {"offsets": scored["offsets"], **without_divergence(scored["logprob"])}

    def _answers(self, side: Side, visit: Visit, label: str) -> Arrays:
        """All batches of a visit, each kept as it is finished, then together."""
        parts = self.evidence.parts

        def together() -> Arrays:
            batches = []
            with counted(label, len(visit.rows)) as bar:
                for number, batch in enumerate(visit.order):
                    compute = partial(self._batch, side, visit, number)
                    batches.append(parts.arrays(f"{label}, batch {number}", compute))
                    bar.advance(len(batch))
            return gathered(visit, batches)

        arrays = self._kept(label, together)
        for number in range(len(visit.order)):
            parts.drop(f"{label}, batch {number}")
        return arrays

    def _batch(self, side: Side, visit: Visit, number: int) -> Arrays:
        return visit_batch(self._open(side), visit, number)


def _rows(scored: Scored) -> list[list[int]]:
    return [scored.ids[scored.place(row)].tolist() for row in range(len(scored))]


def _replies(role: Role, answers: Arrays) -> dict[tuple[Role, Way], Replies]:
    replies: dict[tuple[Role, Way], Replies] = {}
    for way in WAYS:
        own = group_of(way, answers)
        offsets = own["offsets"]
        ids = [own["ids"][start:end].tolist() for start, end in pairwise(offsets)]
        replies[role, way] = Replies(ids=ids, texts=own["text"].tolist(), ended=own["ended"].tolist())
    return replies
