"""Several ways through one problem, and a vote over their answers: chain of thought with self-consistency."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from armillary.errors import UsageError
from armillary.methods.icn.config import NavigationConfig
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.templates import WAYS, FirstTokens, ListTemplate
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.scoring import CachedPrompts, greedy

Parser = Callable[[str], str | None]
"""From the text read out to an answer that can be compared, or None where there is none."""

PATHS = NavigationConfig(rounds=4, per_round=1, max_new_tokens=256, pool=100)
"""The official settings of chains of thought: four paths from the 100 best first tokens, 256 tokens each."""

READOUT_TOKENS = 8
"""Tokens read out of a path: enough for a number, and soon over where there is none."""


def number_parser(text: str) -> str | None:
    """The first signed decimal number without thousands separators and trailing zeros: "1,000.50" -> "1000.5"."""
    match = re.search(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+", text)
    if match is None:
        return None
    number = match.group().replace(",", "").lstrip("+")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    whole, point, rest = digits.partition(".")
    digits = f"{whole.lstrip('0') or '0'}{point}{rest}"
    return digits if digits == "0" else sign + digits


def official_parser(text: str) -> str | None:
    """All digits joined, as in the official code ("3.5" gives "35"); for comparison with it only."""
    return "".join(re.findall(r"\d", text)) or None


def letter_parser(text: str) -> str | None:
    """The first letter from A to E that stands alone (the official code takes the first A to E anywhere)."""
    match = re.search(r"\b[A-E]\b", text)
    return match.group() if match else None


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The paths of one question and what they agree on."""

    question: str
    paths: tuple[str, ...]
    answers: tuple[str | None, ...]
    """The answer of each path; None where none could be read."""

    vote: str | None
    """The most common answer; among equally common ones that of the earliest path. None where no path has one."""

    tie: bool
    """Whether another answer was as common."""


def vote(answers: Sequence[str | None]) -> tuple[str | None, bool]:
    """``(most common answer, whether another was as common)``; paths without an answer don't vote (ours)."""
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None, False
    # Equal counts stand in the order in which they were first met, so the earliest path decides.
    ranked = counts.most_common()
    return ranked[0][0], len(ranked) > 1 and ranked[1][1] == ranked[0][1]


def solve(
    loaded: LoadedModel,
    questions: Sequence[str],
    *,
    template: ListTemplate = WAYS,
    config: NavigationConfig = PATHS,
    parser: Parser = number_parser,
    **settings: Any,
) -> list[Solution]:
    """The solution of each question by ``config.budget`` paths; ``settings`` change fields of ``config``.

    ``navigate=False`` gives the baseline: branching on the best first tokens of the plain prompt. Raises UsageError
    like ``Navigator``, and for a template that reads no answer out.
    """
    if not template.readout:
        raise UsageError("The template has no `readout`, so no answer can be read out of a chain of thought.")
    explored = Navigator(loaded, template, config, **settings).explore(list(questions))
    prompts = [
        template.read_out(exploration.instruction, path) for exploration in explored for path in exploration.texts
    ]
    read = iter(_read_out(loaded, prompts, template.readout_stop, config.batch_size))
    solutions = []
    for exploration in explored:
        paths = tuple(exploration.texts)
        answers = tuple(parser(next(read)) for _ in paths)
        decided, tie = vote(answers)
        solutions.append(
            Solution(question=exploration.instruction, paths=paths, answers=answers, vote=decided, tie=tie)
        )
    return solutions


@torch.inference_mode()
def _read_out(loaded: LoadedModel, prompts: Sequence[str], stop: str, batch_size: int) -> list[str]:
    """The few greedy tokens after each prompt, up to the stop text."""
    stops = FirstTokens(loaded, stop).stop_ids
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        grown = CachedPrompts(loaded)
        hidden_BD = grown.read(encode(loaded, batch))
        branches = greedy(grown, hidden_BD, range(len(batch)), max_new_tokens=READOUT_TOKENS, stop_ids=stops)
        texts += [str(loaded.tokenizer.decode(ids, skip_special_tokens=True)).split(stop)[0] for ids in branches]
    return texts
