"""How much a diff looks at, decided before it begins: from the budget, the models' size and the kind of device alone.

Nothing is timed for it, so that the same command gives the same record on a slow and on a fast machine.
"""

from dataclasses import dataclass

from armillary.diff.config import DiffConfig

SECONDS = {"2m": 120, "10m": 600, "30m": 1800}

CPU, GPU = 120e9, 20e12
"""Operations a second of the nominal machines: two idle cores, and a card of which small batches use a tenth."""

DECODING = 1.6
"""A token that is drawn costs as much as this many that are read in one go: measured on SmolLM2 with 44 answers at a
time (150 and 216 tokens in a second of one core's time)."""

SHARE = 0.7
"""Of the budget, for forward passes; the rest is for opening the models, the instruments and the page."""

PROMPT_TOKENS, CHOICES_TOKENS = 32, 10
"""Tokens of a prompt beyond the template that all share, and of a question's choices together."""

QUESTION_SHARE, TEXT_SHARE = 7.0, 210
"""Questions that are scored, and tokens of texts that are read, for each prompt that is answered: an answer costs six
times as much as a question, and a test of one capability among fifty comparisons needs fourteen questions, or as
many texts (2 in 2 ** 14, corrected, is 0.006)."""

MAX_TEXT_TOKENS = 512
"""Tokens of a text that are read: the packaged ones have fewer in any tokenizer of words."""

LEAST_TEXTS = 48
"""Texts that are read at least: six of each of eight groups, below which a group has no interval."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is read and written; also what an instrument estimates its own cost from."""

    budget: float
    """Seconds."""

    prompts: int
    """Prompts that each model answers."""

    answer_tokens: int
    """Tokens of an answer at most."""

    texts: int
    """Texts that each model reads."""

    text_tokens: int
    """Of a text, on average."""

    questions: int
    """Prompts with a known answer whose choices each model scores, without writing."""

    base_again: bool
    """Whether base is opened a second time, to score after's answers."""

    seconds_per_token: float
    """Of one token that is read by one model, on the nominal machine."""

    parameters: int
    layers: int

    @property
    def pieces(self) -> dict[str, float]:
        """Seconds that each piece of the phases takes on the nominal machine, by the name that the phases give it."""
        # Two answers a prompt; base and after write them, and base again with other random numbers.
        prompt_tokens, both = self.prompts * PROMPT_TOKENS, self.prompts * 2 * self.answer_tokens
        read, choices = self.texts * self.text_tokens, self.questions * (PROMPT_TOKENS + CHOICES_TOKENS)
        tokens = {
            "texts of base": read,
            "base answers": prompt_tokens + DECODING * both,
            # Base's answers are scored by base again and by after, after's by base.
            "base answers a second time": prompt_tokens + DECODING * both + both,
            "texts of base a second time": read / 4,
            "questions to base": choices,
            "texts of after": read,
            "after answers": prompt_tokens + DECODING * both + both,
            "questions to after": choices,
        }
        if self.base_again:
            tokens["base reads the answers of after"] = prompt_tokens + both
        return {piece: self.seconds_per_token * count for piece, count in tokens.items()}

    @property
    def phases(self) -> float:
        """Seconds that the phases take on the nominal machine."""
        return sum(self.pieces.values())


def plan(
    config: DiffConfig,
    *,
    parameters: int,
    layers: int,
    prompts: int,
    texts: int,
    text_tokens: int,
    questions: int,
    on_gpu: bool = False,
) -> Sizes:
    """Sizes for the budget, of what there is; what the settings name is taken as given."""
    budget = float(SECONDS[config.budget])
    per_token = 2 * parameters / (GPU if on_gpu else CPU)
    a_text = min(text_tokens, MAX_TEXT_TOKENS)
    answer_tokens = config.answer_tokens or {"2m": 24, "10m": 32, "30m": 48}[config.budget]

    def sized(count: int) -> Sizes:
        return Sizes(
            budget=budget,
            prompts=min(prompts, config.most_prompts or max(8, count)),
            answer_tokens=answer_tokens,
            texts=min(texts, config.most_texts or max(LEAST_TEXTS, round(TEXT_SHARE / a_text * count))),
            text_tokens=a_text,
            questions=min(questions, round(QUESTION_SHARE * (config.most_prompts or max(8, count)))),
            base_again=config.budget != "2m",
            seconds_per_token=per_token,
            parameters=parameters,
            layers=layers,
        )

    # The cost grows with the number; of more prompts than there are, only texts and questions are left to grow.
    most = max(prompts, round(texts * a_text / TEXT_SHARE), round(questions / QUESTION_SHARE), 8)
    return sized(max((count for count in range(8, most + 1) if sized(count).phases <= SHARE * budget), default=8))
