"""Navigation and what a user would do instead, at one number of answers, judged by closed lists."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from armillary.methods.icn.baselines import AT_ONCE, SAMPLINGS, generated, listed_at_once
from armillary.methods.icn.config import NavigationConfig
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing
from armillary.methods.icn.result import score
from armillary.models.prompts import text_ids
from reproductions.icn.stages import ANSWER_TOKENS, Context, Prompt


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers of one way to one probe, means over seeds where they are drawn."""

    correct: float
    distinct: float
    """Different correct answers."""

    others: float
    """The same by the lists of other classes, mean over classes."""

    tokens: float
    """Tokens written."""

    texts: list[str]
    """Those of the first seed."""


Lists = list[tuple[list[str], float]]
"""For each probe the answers and the tokens written."""


def arms(context: Context, prompt: Prompt) -> dict[str, Callable[[int], Lists]]:
    """Every way by name, as a call that takes a seed. What is drawn is asked by the deciding prompt alone."""
    scale, chat = context.scale, prompt == "chat"
    count = scale.rounds * scale.per_round
    config = NavigationConfig(
        rounds=scale.rounds, per_round=scale.per_round, max_new_tokens=ANSWER_TOKENS, chat_template=chat
    )
    instructions = [question.instruction for question in context.probes]

    def explored(seed: int, **settings: Any) -> Lists:
        explorations = Navigator(context.loaded, config=config, **settings).explore(instructions)
        return [(each.texts, float(sum(len(answer.tokens) for answer in each.answers))) for each in explorations]

    def sampled(seed: int) -> Lists:
        lists: Lists = []
        for text in instructions:
            probing = Probing(context.loaded, text, max_new_tokens=ANSWER_TOKENS, chat=chat)
            texts = generated(probing, count, seed, **SAMPLINGS["sampling"])
            # The closing mark of each is one token more.
            lists.append((texts, float(sum(len(text_ids(context.loaded, text)) + 1 for text in texts))))
        return lists

    def written(seed: int, way: str) -> Lists:
        lists = listed_at_once(context.loaded, instructions, count, way=way, chat=chat, seed=seed)
        return [(each.items, float(each.tokens)) for each in lists]

    ways: dict[str, Callable[[int], Lists]] = {
        "navigation": explored,
        "navigation from the list": partial(explored, continue_from="navigated"),
        "static": partial(explored, navigate=False, rounds=1, per_round=count),
    }
    if prompt == context.prompts[0]:
        ways |= {"sampling": sampled} | {way: partial(written, way=way) for way in AT_ONCE}
    return ways


DRAWN = {"sampling", *AT_ONCE}
"""Ways whose answers are drawn, so that they are asked for with several seeds."""


def answer_stage(context: Context, prompt: Prompt, arm: str) -> list[Answered]:
    """One way by one prompt, for each probe."""
    way = arms(context, prompt)[arm]
    runs = [way(context.seed + offset) for offset in range(context.scale.seeds if arm in DRAWN else 1)]
    answered = []
    for index, matcher in enumerate(context.matchers):
        scores = [score(run[index][0], matcher.match) for run in runs]
        others = [score(run[index][0], other.match) for run in runs for other in context.others(index)]
        answered.append(
            Answered(
                correct=float(np.mean([each.correct for each in scores])),
                distinct=float(np.mean([each.distinct_correct for each in scores])),
                others=float(np.mean([each.distinct_correct for each in others])),
                tokens=float(np.mean([run[index][1] for run in runs])),
                texts=runs[0][index][0],
            )
        )
    return answered
