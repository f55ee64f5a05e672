"""What only an imported prompt asks of the whole response: one of some answers, two responses, the prompt again."""

from functools import lru_cache

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.kinds.verdicts import counted, text_of, texts_of
from armillary.attributes.text_stats import TextStats
from armillary.attributes.wording import TEXT, TEXTS, Params, Wording

SEPARATOR = "******"
"""Between two responses, as IFEval's prompts ask for it."""


def _check_answer(params: Params, stats: TextStats) -> Verdict:
    options = [option for option in texts_of(params, "options") if stats.find(option)]
    return Verdict(
        bool(options),
        lambda: counted(len(options), "of these answers", "of these answers"),
        lambda: stats.spans(pair for option in options for pair in stats.find(option)),
    )


def _check_two(params: Params, stats: TextStats) -> Verdict:
    separator = text_of(params, "separator").strip() if params else SEPARATOR
    pieces = [piece.strip() for piece in stats.text.split(separator)]
    inner = [piece for place, piece in enumerate(pieces) if piece or 0 < place < len(pieces) - 1]
    if not all(inner):
        return Verdict(False, "a response between two separators is empty")
    if len(inner) == 2 and inner[0] == inner[1]:
        return Verdict(False, "two responses that are alike")
    return Verdict(len(inner) == 2, lambda: counted(len(inner), "response"))


def _check_repeated(params: Params, stats: TextStats) -> Verdict:
    prompt = _folded(text_of(params, "prompt"))
    repeated = stats.caseless.startswith(prompt)
    end = min(len(prompt), len(stats.text))
    return Verdict(repeated, "begins so" if repeated else "begins otherwise", lambda: stats.spans([(0, end)]))


# Prompts come again with each response to them.
@lru_cache(maxsize=1024)
def _folded(prompt: str) -> str:
    return TextStats(prompt).text.casefold()


KINDS = (
    AttributeKind(
        id="constrained_response",
        family="whole",
        priority="content",
        wording=Wording("Answer with one of these: {options}.", options=TEXTS),
        checked=_check_answer,
    ),
    AttributeKind(
        id="two_responses",
        family="whole",
        priority="format",
        wording=Wording(
            "Write two different responses, with ****** between them.",
            "Write two different responses, with {separator} between them.",
            separator=TEXT,
        ),
        checked=_check_two,
    ),
    AttributeKind(
        id="repeat_prompt",
        family="whole",
        priority="position",
        wording=Wording("First repeat this word for word: {prompt}.", prompt=TEXT),
        checked=_check_repeated,
    ),
)
