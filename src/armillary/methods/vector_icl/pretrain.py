"""Pretraining of a projector: the language model predicts a text's second part from the vector of its first.

Legend: N examples, E encoder width.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import PRETRAINING, Template, TrainingConfig
from armillary.methods.vector_icl.embedding import SLOT
from armillary.methods.vector_icl.layout import Layout, Row, check_targets, joined, text_ids, text_of
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.training import Pack, TrainingCurve, train
from armillary.models.loaded import LoadedModel

MAX_TOKENS = 128
"""Tokens kept of a text (what the official code does, whatever its scripts pass)."""

LEAST_CHARACTERS = 10
"""Texts of at most so many characters are left out (official)."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Continuations:
    """First parts of texts, to be encoded, and what follows each."""

    heads: tuple[str, ...]
    rests: tuple[str, ...]


def continuations(
    loaded: LoadedModel, texts: Sequence[str], *, seed: int = 0, max_tokens: int = MAX_TOKENS
) -> Continuations:
    """Each text cut at a random sentence boundary, or at a random token where it is one sentence.

    Neither part is ever empty (in the official code the first may be). Texts of at most 10 characters, and of one
    token, are left out. UsageError where none is left.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for text in texts:
        if len(text) > LEAST_CHARACTERS and (pair := _split(loaded, text, generator, max_tokens)):
            pairs.append(pair)
    if not pairs:
        raise UsageError(f"none of the {len(texts)} texts has more than {LEAST_CHARACTERS} characters to be split.")
    return Continuations(heads=tuple(head for head, _ in pairs), rests=tuple(rest for _, rest in pairs))


def pretrain_projector(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    targets: Sequence[str],
    config: TrainingConfig = PRETRAINING,
) -> TrainingCurve:
    """Change ``projector`` in place so that a box makes its target text likely (official objective).

    A sequence holds a box, its text and the end token, and then the next: each example sees those before it. A
    ``<bos>`` goes first where the tokenizer has one (ours). Raises as ``train``; UsageError for an empty target or
    other than one a vector.
    """
    if len(vectors) != len(targets) or not targets:
        raise UsageError(f"{len(vectors)} vectors came with {len(targets)} texts; give one or more, of each as many.")
    check_targets(targets)
    lessons = [pretraining_row(loaded, index, text) for index, text in enumerate(targets)]
    begin = Layout.of(loaded, Template()).start()

    def lesson(pack: Pack, _: torch.Generator) -> Row:
        return joined([begin, *(lessons[index] for index in pack)])

    def order(generator: torch.Generator) -> list[Pack]:
        return [torch.randperm(len(lessons), generator=generator).tolist()]

    return train(loaded, projector, vectors, lesson, order, config, label="pretraining the projector")


def pretraining_row(loaded: LoadedModel, index: int, text: str) -> Row:
    """The box of vector ``index``, the first 128 tokens of the text and the end token (where there is one)."""
    eos = loaded.tokenizer.eos_token_id
    told = text_ids(loaded, text)[:MAX_TOKENS] + ((eos,) if isinstance(eos, int) else ())
    return Row((SLOT, *told), (index,), (False, *(True for _ in told)))


def _split(loaded: LoadedModel, text: str, generator: torch.Generator, max_tokens: int) -> tuple[str, str] | None:
    ids = text_ids(loaded, text)
    if len(ids) > max_tokens:
        ids = ids[:max_tokens]
        text = text_of(loaded, ids)
    sentences = [part for part in _SENTENCE_END.split(text) if part.strip()]
    if len(sentences) > 1:
        cut = int(torch.randint(1, len(sentences), (), generator=generator))
        return " ".join(sentences[:cut]), " ".join(sentences[cut:])
    if len(ids) < 2:
        return None
    cut = int(torch.randint(1, len(ids), (), generator=generator))
    head, rest = text_of(loaded, ids[:cut]), text_of(loaded, ids[cut:])
    return (head, rest) if head.strip() and rest.strip() else None
