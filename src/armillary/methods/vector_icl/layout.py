"""Prompts with slots for vectors, as rows of token ids: each piece of text is tokenised by itself, as in training."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import Template
from armillary.methods.vector_icl.embedding import SLOT, positions_of
from armillary.models.loaded import LoadedModel

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """Token ids with ``SLOT`` where a box comes, the vectors of the slots in order, and which tokens are learned."""

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
    return tuple(loaded.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()


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
    """``<bos>`` or nothing."""

    @classmethod
    def of(cls, loaded: LoadedModel, template: Template) -> "Layout":
        """UsageError where the end token is asked for and the tokenizer has none."""
        bos, eos = loaded.tokenizer.bos_token_id, loaded.tokenizer.eos_token_id
        separator = text_ids(loaded, template.separator)
        if template.end == "eos" and eos is None:
            raise UsageError(f'the tokenizer of {loaded.name} has no end token; take a template with end="separator".')
        return cls(
            pieces=tuple(text_ids(loaded, piece) for piece in template.pieces),
            separator=separator,
            end=separator if template.end == "separator" else (eos,),
            begin=(bos,) if template.bos and isinstance(bos, int) else (),
        )

    @property
    def boxes(self) -> int:
        """Vectors of one example."""
        return len(self.pieces) - 1

    def question(self, example: int) -> Row:
        """Text and slots of one example, without its target; its vectors are ``boxes`` neighbours in the table."""
        tokens = list(self.pieces[0])
        for piece in self.pieces[1:]:
            tokens += [SLOT, *piece]
        first = example * self.boxes
        return Row(tuple(tokens), tuple(range(first, first + self.boxes)), (False,) * len(tokens))

    def lesson(self, example: int, target: Ids) -> Row:
        """An example of training: the target and the end after it are learned."""
        asked, told = self.question(example), target + self.end
        return Row(asked.tokens + told, asked.vectors, asked.learned + (True,) * len(told))

    def demonstrations(self, examples: Sequence[int], targets: Sequence[Ids]) -> Row:
        """``<bos>`` and the examples with their targets, each followed by one separator; nothing is learned."""
        parts = [self.start()]
        for example, target in zip(examples, targets, strict=True):
            told = target + self.separator
            parts += [self.question(example), Row(told, (), (False,) * len(told))]
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
    room = positions_of(loaded)
    if room is not None and needed > room:
        most = "" if fits is None else f"; at most {fits} shots fit"
        raise UsageError(f"the prompt needs {needed} tokens and {loaded.name} has {room} positions{most}.")
