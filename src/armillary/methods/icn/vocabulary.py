"""What the tokens of a vocabulary spell, and which of them can begin an answer."""

from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.scoring.greedy import end_tokens


class FirstTokens:
    """Chooses first tokens from rankings, and knows where an answer stops."""

    def __init__(self, loaded: LoadedModel, stop: str, *, normalised: bool = False) -> None:
        """``stop`` is the text before which an answer ends; ``normalised`` folds case and spaces of strings."""
        self.loaded, self.stop, self.normalised = loaded, stop, normalised
        self._strings: dict[int, str] = {}

    def string(self, token: int) -> str:
        """The token as text; tokens that are no whole characters show as U+FFFD."""
        if token not in self._strings:
            self._strings[token] = str(self.loaded.tokenizer.decode([token]))
        return self._strings[token]

    def key(self, token: int) -> str:
        """What two tokens share when one counts as the other."""
        return self.string(token).strip().casefold() if self.normalised else self.string(token)

    def begins_answer(self, token: int) -> bool:
        """False for special tokens, parts of characters, blanks, line ends, and tokens that hold the stop text."""
        if token in self._special or token >= len(self.loaded.tokenizer):
            return False
        text = self.string(token)
        return bool(text.strip()) and "\ufffd" not in text and "\n" not in text and self.stop not in text

    def best(
        self, logits_V: Float[Tensor, " v"], count: int, explored: set[str], pool: int | None
    ) -> tuple[list[int], list[int], int]:
        """``(tokens, their ranks from 1, tokens passed over because they begin no answer)``.

        The ``count`` best tokens that are not explored and can begin an answer; their keys are added to ``explored``.
        Fewer where the pool or the vocabulary has no more. Equal logits go by id.
        """
        size = len(logits_V)
        reach = min(size, pool or size)
        seen, width = 0, min(reach, count + len(explored) + 64)
        tokens: list[int] = []
        ranks: list[int] = []
        invalid = 0
        while True:
            for rank, token in enumerate(_ranked(logits_V, width)[seen:], seen + 1):
                if not self.begins_answer(token):
                    invalid += 1
                elif self.key(token) not in explored:
                    explored.add(self.key(token))
                    tokens.append(token)
                    ranks.append(rank)
                    if len(tokens) == count:
                        return tokens, ranks, invalid
            if width == reach:
                return tokens, ranks, invalid
            seen, width = width, min(reach, 4 * width)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Tokens that hold the stop text, and the model's end tokens."""
        tokenizer = self.loaded.tokenizer
        size = min(len(tokenizer), self.loaded.anatomy.vocabulary_size)
        spelled = tokenizer.convert_ids_to_tokens(list(range(size)))
        holds = [token for token, text in enumerate(spelled) if self.stop in str(text)]
        if not holds and self._encoded_length() != 1:
            raise UsageError(f"No token of {self.loaded.name} holds the stop text {self.stop!r}; choose another.")
        return sorted({*holds, *end_tokens(self.loaded)})

    @cached_property
    def _special(self) -> set[int]:
        return {int(token) for token in self.loaded.tokenizer.all_special_ids}

    def _encoded_length(self) -> int:
        return len(self.loaded.tokenizer.encode(self.stop, add_special_tokens=False))


def appended_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Tokens of a text that goes on after another one: no special tokens, and no blank that a tokenizer puts first."""
    if not text:
        return []
    before, whole = (loaded.tokenizer.encode(part, add_special_tokens=False) for part in ("\n", f"\n{text}"))
    if whole[: len(before)] == before:
        return [int(token) for token in whole[len(before) :]]
    return [int(token) for token in loaded.tokenizer.encode(text, add_special_tokens=False)]


def _ranked(logits_V: Tensor, width: int) -> list[int]:
    """Ids of the ``width`` largest logits, the smaller id first where two are equal."""
    values, ids = logits_V.topk(width)
    order = sorted(range(width), key=lambda place: (-float(values[place]), int(ids[place])))
    return [int(ids[place]) for place in order]


def rank_of(logits_V: Float[Tensor, " v"], tokens: list[int]) -> list[int]:
    """Rank (from 1) of each token: how many logits are larger, plus one."""
    chosen = logits_V[torch.tensor(tokens, device=logits_V.device)]
    larger: Bool[Tensor, "k v"] = logits_V[None, :] > chosen[:, None]
    return [int(count) + 1 for count in larger.sum(dim=1)]
