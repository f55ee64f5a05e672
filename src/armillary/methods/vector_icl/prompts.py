"""Prompts with slots for vectors, as rows of token ids: each piece of text is tokenised by itself, as in training."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.embedding import SLOT
from armillary.models import prompts
from armillary.models.loaded import LoadedModel

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """Token ids with ``SLOT`` where a vector comes, the vectors of the slots in order, which tokens are learned."""

    tokens: Ids
    vectors: Ids
    learned: tuple[bool, ...]

    def __post_init__(self) -> None:
        slots = self.tokens.count(SLOT)
        if slots != len(self.vectors) or len(self.learned) != len(self.tokens) or any(self.learned[:1]):
            raise UsageError(f"a row has a vector for each of its {slots} slots, and its first token is not learned.")

    def __len__(self) -> int:
        return len(self.tokens)


def joined(parts: Sequence[Row]) -> Row:
    """The parts one after the other."""
    return Row(
        tuple(token for part in parts for token in part.tokens),
        tuple(vector for part in parts for vector in part.vectors),
        tuple(learned for part in parts for learned in part.learned),
    )


def text_ids(loaded: LoadedModel, text: str) -> Ids:
    """Tokens of the text without special tokens."""
    return tuple(prompts.text_ids(loaded, text))


def text_of(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """The text of these tokens, without special ones."""
    return str(loaded.tokenizer.decode(list(ids), skip_special_tokens=True))


@dataclass(frozen=True)
class Layout:
    """A template in the tokens of one model."""

    pieces: tuple[Ids, ...]
    separator: Ids
    end: Ids
    """What training learns after a target."""

    begin: Ids
    """What precedes a text, or nothing."""

    @classmethod
    def of(cls, loaded: LoadedModel, template: SlotTemplate) -> "Layout":
        """UsageError where the end token is asked for and the tokenizer has none."""
        eos = loaded.tokenizer.eos_token_id
        separator = text_ids(loaded, template.separator)
        if template.end == "eos" and eos is None:
            raise UsageError(f'the tokenizer of {loaded.name} has no end token; take a template with end="separator".')
        return cls(
            pieces=tuple(text_ids(loaded, piece) for piece in template.pieces),
            separator=separator,
            end=separator if template.end == "separator" else (eos,),
            begin=prompts.beginning(loaded) if template.bos else (),
        )

    @property
    def slots(self) -> int:
        """Vectors of one example."""
        return len(self.pieces) - 1

    def question(self, example: int) -> Row:
        """Text and slots of one example, without its target; its vectors are ``slots`` neighbours in the table."""
        tokens = list(self.pieces[0])
        for piece in self.pieces[1:]:
            tokens += [SLOT, *piece]
        first = example * self.slots
        return Row(tuple(tokens), tuple(range(first, first + self.slots)), (False,) * len(tokens))

    def training_row(self, example: int, target: Ids) -> Row:
        """An example of training: the target and the end after it are learned."""
        question, learned = self.question(example), target + self.end
        return Row(question.tokens + learned, question.vectors, question.learned + (True,) * len(learned))

    def demonstrations(self, examples: Sequence[int], targets: Sequence[Ids]) -> Row:
        """``<bos>`` and the examples with their targets, each followed by one separator; nothing is learned."""
        parts = [self.start()]
        for example, target in zip(examples, targets, strict=True):
            answer = target + self.separator
            parts += [self.question(example), Row(answer, (), (False,) * len(answer))]
        return joined(parts)

    def start(self) -> Row:
        """What a sequence begins with."""
        return Row(self.begin, (), (False,) * len(self.begin))


def check_targets(targets: Sequence[str]) -> None:
    """UsageError naming the first target without text."""
    for index, target in enumerate(targets):
        if not target.strip():
            raise UsageError(f"target {index} is empty; each example needs text to be learned or shown.")


def check_room(loaded: LoadedModel, needed: int, *, fits: int | None = None) -> None:
    """UsageError where a prompt has more tokens than the model has positions; ``fits`` is the largest feasible k."""
    room = loaded.max_positions
    if room is not None and needed > room:
        most = "" if fits is None else f"; at most {fits} shots fit"
        raise UsageError(f"the prompt needs {needed} tokens and {loaded.name} has {room} positions{most}.")


# Which examples stand in front of a query: drawn by a seed, equally of each class, and as many as fit.

Draw = Callable[[int], list[int]]
"""Indices of demonstrations for so many shots, the same at every call."""


def draw_of_each(classes: Sequence[str], seed: int, *, strict: bool = False) -> Draw:
    """``shots`` examples of each class, shuffled. Fewer shots are a part of more.

    Where a class has fewer, what it has is used, with a warning; with ``strict`` that is a UsageError.
    """

    def draw(shots: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(classes), generator=generator).tolist()
        chosen: list[int] = []
        counts = Counter(classes)
        smallest = min(counts, key=lambda label: (counts[label], label))
        if counts[smallest] < shots:
            sentence = f"class {smallest!r} has {counts[smallest]} examples, fewer than the {shots} shots asked for."
            if strict:
                raise UsageError(sentence)
            warnings.warn(sentence, UserWarning, stacklevel=3)
        for label in sorted(set(classes)):
            members = [index for index in order if classes[index] == label]
            chosen += members[:shots]
        return [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()]

    return draw


def draw_any(examples: int, seed: int, *, strict: bool = False) -> Draw:
    """``shots`` examples in all, in random order; where there are fewer, as ``draw_of_each``."""

    def draw(shots: int) -> list[int]:
        if examples < shots:
            sentence = f"there are {examples} examples, fewer than the {shots} shots asked for."
            if strict:
                raise UsageError(sentence)
            warnings.warn(sentence, UserWarning, stacklevel=3)
        return torch.randperm(examples, generator=torch.Generator().manual_seed(seed)).tolist()[:shots]

    return draw


def fitting(
    loaded: LoadedModel,
    draw: Draw,
    shots: int,
    tokens: Callable[[list[int]], int],
    *,
    truncate: Literal["error", "demos"] = "error",
) -> tuple[int, list[int]]:
    """Shots and their demonstrations: the ``shots`` asked for, or with ``truncate="demos"`` the most that fit.

    ``tokens`` counts a whole prompt with these demonstrations and the longest answer. UsageError where it does not
    fit, saying how many shots do.
    """
    given: object = shots  # an estimator hands on what it got
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise UsageError(f"shots must be a whole number of 0 or more, got {given!r}.")
    if truncate not in ("error", "demos"):
        raise UsageError(f"truncate is 'error' or 'demos'; got {truncate!r}.")
    wanted, room = draw(shots), loaded.max_positions
    needed = tokens(wanted)
    if room is None or needed <= room:
        return shots, wanted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small classes: said once above
        for fewer in range(shots - 1, -1, -1):
            chosen = draw(fewer)
            if tokens(chosen) <= room:
                if truncate == "error":
                    check_room(loaded, needed, fits=fewer)
                return fewer, chosen
    check_room(loaded, tokens([]))
    return 0, []
