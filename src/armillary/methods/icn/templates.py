"""How explored answers are put into words: prompts as data, which a user can replace.

The three that ship are those of the official code: a numbered list of quoted answers for knowledge probing and for
open-ended generation, and ways to solve a problem for chains of thought.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.files import read_toml
from armillary.models import LoadedModel
from armillary.models.prompts import chat_text, text_ids
from armillary.records.plain import decode
from armillary.scoring.decoding import end_tokens


@dataclass(frozen=True, kw_only=True)
class ListTemplate:
    """A prompt that lists what was explored and opens the next item. ``{instruction}`` and ``{number}`` are filled."""

    before: str
    """All that stands before the first item; holds ``{instruction}``."""

    opening: str
    """What opens an item; may hold ``{number}``, counted from 1."""

    closing: str
    """What stands between an answer and the next opening."""

    stop: str
    """An answer ends before the first of this text."""

    request: str = ""
    """What the user asks where the model has a chat template, whose answer then begins with the first item (ours); may
    hold ``{instruction}``. Empty: the prompt is plain text for every model."""

    one_line: bool = True
    """Answers are put on one line before they are listed."""

    readout: str = ""
    """For chains of thought: the prompt that reads the answer out of a path; ``{instruction}`` and ``{path}``."""

    readout_stop: str = '"'
    """The answer read out ends before the first of this text."""

    def __post_init__(self) -> None:
        if "{instruction}" not in self.before:
            raise UsageError("The template's `before` has no {instruction}, so every prompt would be the same.")
        if not self.stop:
            raise UsageError("The template's `stop` is empty: an answer has to end somewhere.")

    def base(self, instruction: str) -> str:
        """The prompt before anything is explored; UsageError for an empty instruction."""
        if not instruction.strip():
            raise UsageError("The prompt is empty; say what to list or solve.")
        return self.before.replace("{instruction}", instruction) + self.opened(1)

    def listed(self, base: str, answers: Sequence[str]) -> str:
        """``base``, which opens the first item, with these answers filled in and the next item opened."""
        parts = [base]
        for number, answer in enumerate(answers, 1):
            parts += [self.cleaned(answer), self.closing, self.opened(number + 1)]
        return "".join(parts)

    def opened(self, number: int) -> str:
        """What opens the item of this number."""
        return self.opening.replace("{number}", str(number))

    def cleaned(self, answer: str) -> str:
        """The answer as it may stand in the list: it can't hold the stop text, nor line ends where one line is due."""
        text = " ".join(answer.split()) if self.one_line else answer
        return text.replace(self.stop, "'" if self.stop == '"' else " ")

    def read_out(self, instruction: str, path: str) -> str:
        """The prompt that reads an answer out of a path."""
        if not self.readout:
            raise UsageError("The template has no `readout`, so no answer can be read out of a chain of thought.")
        return self.readout.replace("{path}", path).replace("{instruction}", instruction)


NUMBERED_LIST = ListTemplate(
    before="{instruction}\n\nAnswer:\n", opening='{number}. "', closing='"\n', stop='"', request="{instruction}"
)
"""Knowledge probing and open-ended generation (official code: the prompt of the notebook and of zerogen)."""

_WAYS = (
    "{instruction}\n\nPlease show me some different ways to solve this problem.\n\n"
    "Here are different ways to solve the problem:\n"
)

WAYS = ListTemplate(
    before=_WAYS,
    opening="### Way {number}:\n* **Step 1:**\n",
    closing="\n",
    stop="#",
    one_line=False,
    readout=_WAYS + '### Way 1:\n* **Step 1:**\n{path}\n\n**Final Answer (Only Number):** "',
)
"""Chains of thought with self-consistency (official code: gsm8k and svamp)."""

TEMPLATES: dict[str, ListTemplate] = {"probe": NUMBERED_LIST, "open": NUMBERED_LIST, "cot": WAYS}
"""Task -> template."""


def template(task: str) -> ListTemplate:
    """The shipped template of a task; UsageError naming the tasks that have one."""
    if task not in TEMPLATES:
        raise UsageError(f"There is no template for the task {task!r}; the tasks are {', '.join(TEMPLATES)}.")
    return TEMPLATES[task]


def load_template(path: Path | str) -> ListTemplate:
    """A template from a TOML file whose keys are the fields of ``ListTemplate``; UsageError naming what is wrong."""
    return decode(ListTemplate, read_toml(path, "template"), f"The template {path}")


def opened_prompt(loaded: LoadedModel, template: ListTemplate, instruction: str, *, chat: bool = True) -> str:
    """The prompt that opens the first item: in the model's chat template where both have one, else plain text."""
    base = template.base(instruction)
    if not (chat and template.request and loaded.tokenizer.chat_template):
        return base
    return chat_text(loaded, template.request.replace("{instruction}", instruction)) + template.opened(1)


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
        if token in self._special or token not in self.loaded.known_ids:
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
        # Most are found among the first: a few more than needed are sorted, four times as many where that is not so.
        seen, width = 0, min(reach, count + len(explored) + 64)
        tokens: list[int] = []
        ranks: list[int] = []
        invalid = 0
        while True:
            values, ids = (best.tolist() for best in logits_V.topk(width))
            # The smaller id first where two logits are equal, whatever order topk gives them.
            order = sorted(range(width), key=lambda index: (-values[index], ids[index]))
            for rank, index in enumerate(order[seen:], seen + 1):
                token = ids[index]
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
        spelled = self.loaded.spelled
        holds = [token for token, text in zip(self.loaded.token_ids, spelled, strict=True) if self.stop in text]
        if not holds and len(text_ids(self.loaded, self.stop)) != 1:
            raise UsageError(f"No token of {self.loaded.name} holds the stop text {self.stop!r}; choose another.")
        return sorted({*holds, *end_tokens(self.loaded)})

    @cached_property
    def _special(self) -> set[int]:
        tokenizer = self.loaded.tokenizer
        added = tokenizer.added_tokens_decoder.items()
        return {*tokenizer.all_special_ids, *(token for token, entry in added if entry.special)}


def rank_of(logits_V: Float[Tensor, " v"], tokens: list[int]) -> list[int]:
    """Rank (from 1) of each token: how many logits are larger, plus one."""
    chosen = logits_V[torch.tensor(tokens, device=logits_V.device)]
    larger: Bool[Tensor, "k v"] = logits_V[None, :] > chosen[:, None]
    return [int(count) + 1 for count in larger.sum(dim=1)]
