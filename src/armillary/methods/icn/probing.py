"""Knowledge probing: what the first tokens of one prompt lead to, and what a list in the context does to them.

The paper continues each of the best N first tokens greedily and judges the answers; an answer is decoded once here,
whichever ranking asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.icn.templates import NUMBERED_LIST, FirstTokens, ListTemplate, opened_prompt, rank_of
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.models.prompts import continuation_ids
from armillary.scoring import CachedPrompts, greedy

BRANCHES = 64
"""Answers decoded together: more are faster and take memory for a cache each."""


class Probing:
    """One instruction on one model: its ranking of first tokens, and the answers they lead to."""

    def __init__(
        self,
        loaded: LoadedModel,
        instruction: str,
        template: ListTemplate = NUMBERED_LIST,
        *,
        max_new_tokens: int = 12,
        chat: bool = True,
    ) -> None:
        """``chat`` asks through the model's chat template, where it has one; without it the prompt is plain text."""
        self.loaded, self.template, self.max_new_tokens = loaded, template, max_new_tokens
        self.first = FirstTokens(loaded, template.stop)
        self.base: list[int] = encode(loaded, [opened_prompt(loaded, template, instruction, chat=chat)])[0]
        self.prompts = CachedPrompts(loaded)
        self.query_1D = self.prompts.read([self.base])
        self._texts: dict[int, str] = {}

    @property
    @torch.inference_mode()
    def logits_V(self) -> Float[Tensor, " v"]:
        """Logits of the first token, float32; minus infinity for rows of the head that are no token."""
        return self.loaded.masked(self.loaded.anatomy.logits(self.query_1D)[0].float())

    def ranked(self, count: int) -> list[int]:
        """The ``count`` best tokens that can begin an answer.

        UsageError where the vocabulary has no more of them.
        """
        tokens, _, _ = self.first.best(self.logits_V, count, set(), None)
        if len(tokens) < count:
            raise UsageError(
                f"{count} first tokens were asked for, but only {len(tokens)} of this vocabulary can begin an answer."
            )
        return tokens

    def answers(self, tokens: Sequence[int]) -> list[str]:
        """The greedy answer of each first token."""
        missing = list(dict.fromkeys(token for token in tokens if token not in self._texts))
        for start in range(0, len(missing), BRANCHES):
            batch = missing[start : start + BRANCHES]
            branches = greedy(
                self.prompts,
                self.query_1D,
                [0] * len(batch),
                batch,
                max_new_tokens=self.max_new_tokens,
                stop_ids=self.first.stop_ids,
            )
            for token, branch in zip(batch, branches, strict=True):
                text = str(self.loaded.tokenizer.decode(branch, skip_special_tokens=True))
                self._texts[token] = text.split(self.template.stop)[0].strip()
        return [self._texts[token] for token in tokens]

    def opens(self, answer: str) -> int | None:
        """The token that this answer begins with in a list; None where it runs together with the mark before it."""
        mark = continuation_ids(self.loaded, self.template.opened(1))
        row = continuation_ids(self.loaded, self.template.opened(1) + self.template.cleaned(answer))
        return row[len(mark)] if row[: len(mark)] == mark and len(row) > len(mark) else None

    def after_list(self, listed: Sequence[str], tokens: Sequence[int]) -> "AfterList":
        """Where these first tokens stand once a list is in the context."""
        row = self.base + continuation_ids(self.loaded, self.template.listed("", listed))
        prompts = self.prompts.copy()
        hidden_1D = prompts.read([row])
        with torch.inference_mode():
            logits_V = self.loaded.masked(self.loaded.anatomy.logits(hidden_1D)[0].float())
        normaliser = float(logits_V.logsumexp(0))
        return AfterList(
            ranks=rank_of(logits_V, list(tokens)),
            logits=[float(logits_V[token]) for token in tokens],
            logprobs=[float(logits_V[token]) - normaliser for token in tokens],
        )


@dataclass(frozen=True, kw_only=True)
class AfterList:
    """Some first tokens under one context."""

    ranks: list[int]
    """From 1."""

    logits: list[float]
    logprobs: list[float]
    """Nats."""


def unreachable(loaded: LoadedModel, answers: Sequence[Sequence[str]]) -> list[str]:
    """First spelling of each answer of which no spelling comes back whole from this tokenizer.

    UsageError where that is every answer: no text of this model could be judged right.
    """

    def returns(text: str) -> bool:
        return str(loaded.tokenizer.decode(continuation_ids(loaded, text))).strip() == text.strip()

    lost = [spellings[0] for spellings in answers if not any(map(returns, spellings))]
    if answers and len(lost) == len(answers):
        raise UsageError(
            f"None of the {len(answers)} answers can be written with the tokenizer of {loaded.name}, for instance "
            f"{lost[0]!r}; give answers in a script that it knows."
        )
    return lost
