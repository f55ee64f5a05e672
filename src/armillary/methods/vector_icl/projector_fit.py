"""A projector to begin with, its training on a task in the template of the demonstrations, and before it on texts.

Legend: N vectors (as many neighbours an example as the template has slots), E encoder width.
"""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import PRETRAINING, SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.embedding import SLOT
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.prompts import Ids, Layout, Row, check_targets, joined, text_ids, text_of
from armillary.methods.vector_icl.training import Order, Pack, TrainingCurve, train
from armillary.models.loaded import LoadedModel


def tune_projector(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    targets: Sequence[str],
    template: SlotTemplate,
    config: TrainingConfig | None = None,
    *,
    groups: Sequence[int] | None = None,
    balance: bool = False,
) -> TrainingCurve:
    """Change ``projector`` in place so that each example's target follows its text and slots.

    ``groups`` (ours) keeps to one sequence examples of one group, such as points of one function; ``balance`` shows
    each target equally often. Raises as ``train``; UsageError for an empty target or unequal numbers.
    """
    layout, examples = Layout.of(loaded, template), len(targets)
    _check_numbers(vectors, examples, template, groups)
    check_targets(targets)
    target_ids = [text_ids(loaded, target) for target in targets]

    def training_row(pack: Pack, _: torch.Generator) -> Row:
        return joined([layout.start(), *(layout.training_row(index, target_ids[index]) for index in pack)])

    classes = [sorted(set(targets)).index(target) for target in targets] if balance else None
    order = _order(examples, classes, groups)
    return train(
        loaded, projector, vectors, training_row, order, config or TrainingConfig(), label="tuning the projector"
    )


def tune_on_episodes(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    classes: Sequence[int],
    words: Sequence[str],
    template: SlotTemplate,
    config: TrainingConfig | None = None,
    *,
    ways: int | None = None,
    sets: Sequence[int] | None = None,
) -> TrainingCurve:
    """As ``tune_projector``, but every sequence draws anew which word stands for which class (ours).

    Only the demonstrations of the sequence say what a word means, so the projector can't learn the classes' names.
    With ``ways`` a sequence keeps examples of so many classes, drawn anew; others of its pack are left out. ``sets``
    tell which data set each example is of: the classes of one sequence then come from one. UsageError for fewer words
    than classes.
    """
    layout, known = Layout.of(loaded, template), sorted(set(classes))
    _check_numbers(vectors, len(classes), template, None)
    count = len(known) if ways is None else ways
    if not 1 <= count <= min(len(known), len(words)):
        raise UsageError(f"{count} classes in a sequence need as many classes and words; there are {len(known)} "
                         f"and {len(words)}.")  # fmt: skip
    word_ids = [text_ids(loaded, word) for word in words]
    set_of = dict(zip(classes, sets or [0] * len(classes), strict=True))

    def training_row(pack: Pack, generator: torch.Generator) -> Row:
        drawn = [known[index] for index in torch.randperm(len(known), generator=generator).tolist()]
        chosen = together(drawn, {classes[index] for index in pack}, set_of)[:count]
        order_of_words = torch.randperm(len(word_ids), generator=generator).tolist()
        names: dict[int, Ids] = {label: word_ids[word] for label, word in zip(chosen, order_of_words, strict=False)}
        return joined(
            [
                layout.start(),
                *(layout.training_row(index, names[classes[index]]) for index in pack if classes[index] in names),
            ]
        )

    order = _order(len(classes), classes, None)
    return train(
        loaded, projector, vectors, training_row, order, config or TrainingConfig(), label="tuning on episodes"
    )


def together(drawn: Sequence[int], present: Container[int], set_of: Mapping[int, int]) -> list[int]:
    """Of the classes in their drawn order those that are present and of the first such one's data set."""
    candidates = [label for label in drawn if label in present]
    return [label for label in candidates if set_of[label] == set_of[candidates[0]]]


def balanced_order(classes: Sequence[int], generator: torch.Generator) -> Pack:
    """Examples so that each run of as many as there are classes has one of each; small classes come repeatedly."""
    members: dict[int, Pack] = {}
    for index, label in enumerate(classes):
        members.setdefault(label, []).append(index)
    most = max(len(rows) for rows in members.values())
    columns = []
    for label in sorted(members):
        rows = [members[label][i] for i in torch.randperm(len(members[label]), generator=generator).tolist()]
        columns.append((rows * -(-most // len(rows)))[:most])
    out: Pack = []
    for turn in range(most):
        out += [columns[column][turn] for column in torch.randperm(len(columns), generator=generator).tolist()]
    return out


def _order(examples: int, classes: Sequence[int] | None, groups: Sequence[int] | None) -> Order:
    def order(generator: torch.Generator) -> list[Pack]:
        if classes is None:
            shuffled = torch.randperm(examples, generator=generator).tolist()
        else:
            shuffled = balanced_order(classes, generator)
        if groups is None:
            return [shuffled]
        return [[index for index in shuffled if groups[index] == group] for group in sorted(set(groups))]

    return order


def _check_numbers(vectors: Tensor, examples: int, template: SlotTemplate, groups: Sequence[int] | None) -> None:
    if not examples or len(vectors) != examples * template.slots:
        raise UsageError(
            f"{examples} examples of {template.slots} vectors each came with {len(vectors)} vectors; give one or more."
        )
    if groups is not None and len(groups) != examples:
        raise UsageError(f"{examples} examples came with {len(groups)} groups; give one each.")


# Pretraining: the language model predicts a text's second part from the vector of its first.

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


def continuations(loaded: LoadedModel, texts: Sequence[str], *, seed: int = 0) -> Continuations:
    """Each text cut at a random sentence boundary, or at a random token where it is one sentence.

    Neither part is ever empty (in the official code the first may be). Texts of at most 10 characters, and of one
    token, are left out. UsageError where none is left.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for text in texts:
        if len(text) > LEAST_CHARACTERS and (pair := _split(loaded, text, generator)):
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
    """Change ``projector`` in place so that a vector in a slot makes its target text likely (official objective).

    A sequence holds a slot, its text and the end token, and then the next: each example sees those before it. A
    ``<bos>`` goes first where the tokenizer has one (ours). Raises as ``train``; UsageError for an empty target or
    other than one a vector.
    """
    if len(vectors) != len(targets) or not targets:
        raise UsageError(f"{len(vectors)} vectors came with {len(targets)} texts; give one or more, of each as many.")
    check_targets(targets)
    training_rows = [pretraining_row(loaded, index, text) for index, text in enumerate(targets)]
    begin = Layout.of(loaded, SlotTemplate()).start()

    def training_row(pack: Pack, _: torch.Generator) -> Row:
        return joined([begin, *(training_rows[index] for index in pack)])

    def order(generator: torch.Generator) -> list[Pack]:
        return [torch.randperm(len(training_rows), generator=generator).tolist()]

    return train(loaded, projector, vectors, training_row, order, config, label="pretraining the projector")


def pretraining_row(loaded: LoadedModel, index: int, text: str) -> Row:
    """The slot of vector ``index``, the first 128 tokens of the text and the end token (where there is one)."""
    eos = loaded.tokenizer.eos_token_id
    target = text_ids(loaded, text)[:MAX_TOKENS] + ((eos,) if isinstance(eos, int) else ())
    return Row((SLOT, *target), (index,), (False, *(True for _ in target)))


def _split(loaded: LoadedModel, text: str, generator: torch.Generator) -> tuple[str, str] | None:
    ids = text_ids(loaded, text)
    if len(ids) > MAX_TOKENS:
        ids = ids[:MAX_TOKENS]
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
