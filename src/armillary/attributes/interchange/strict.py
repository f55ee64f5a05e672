"""The verdicts of lm-eval's IFEval checkers (0.4.13), rule by rule, for numbers comparable with published ones.

Written from what they decide, errors included; docs/methods/ultragen.md lists where these verdicts differ from ours. A
blank response fails everything. Three packages are needed where an instruction reads them, as lm-eval does: langdetect
for languages, nltk with its punkt data for sentences and for words in capitals.
"""

import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Protocol

from armillary.errors import UsageError

Arguments = Mapping[str, object]


class _SentenceTokenizer(Protocol):
    def tokenize(self, text: str) -> list[str]: ...


def strict_verdict(name: str, arguments: Arguments, response: str) -> bool:
    """Whether lm-eval says that the response follows the instruction.

    UsageError for an id that is none of the 25, for an argument that is missing, 0 or empty (lm-eval would draw one at
    random), and where a package or its data is not there.
    """
    if name not in RULES:
        raise UsageError(f"lm-eval has no IFEval instruction {name!r}; it knows {', '.join(RULES)}.")
    needed, rule = RULES[name]
    for argument in needed:
        if not arguments.get(argument):
            raise UsageError(
                f"{name}: {argument} is {arguments.get(argument)!r}; lm-eval would draw it at random, so there is "
                f"no verdict to give."
            )
    return bool(response.strip()) and rule(arguments, response)


def _met(count: int, relation: object, threshold: object) -> bool:
    if relation not in ("less than", "at least"):
        raise UsageError(f"a relation is {relation!r:.40}; accepted are 'less than' and 'at least'.")
    return count < _number(threshold) if relation == "less than" else count >= _number(threshold)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{value!r:.40} is no number.")
    return value


def _keywords(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list | tuple) else [str(value)]


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"strict_ifeval needs the package {name} for this instruction: pip install {name}.") from None


def _language(response: str) -> str | None:
    """ISO code; None where langdetect finds nothing to go by, which lm-eval counts as followed."""
    langdetect = _package("langdetect")
    try:
        return str(langdetect.detect(response))
    except langdetect.LangDetectException:
        return None


def sentence_tokenizer() -> _SentenceTokenizer:
    """nltk's trained one for English. UsageError where its data is not on this machine."""
    nltk = _package("nltk")
    try:
        tokenizer: _SentenceTokenizer = nltk.tokenize.PunktTokenizer("english")
    except LookupError:
        raise UsageError(
            "strict_ifeval needs nltk's punkt data for this instruction: python -m nltk.downloader punkt_tab."
        ) from None
    return tokenizer


def _capitals(arguments: Arguments, response: str) -> bool:
    # Words and marks as nltk's word_tokenize cuts them: sentences first, then the Treebank's rules.
    treebank = _package("nltk.tokenize.destructive").NLTKWordTokenizer()
    tokens = [token for sentence in sentence_tokenizer().tokenize(response) for token in treebank.tokenize(sentence)]
    return _met(sum(map(str.isupper, tokens)), arguments["capital_relation"], arguments["capital_frequency"])


def _divided(response: str, pattern: str, wanted: int) -> bool:
    """Pieces between dividers: blank ones at either end do not count, one in the middle fails."""
    pieces = [piece.strip() for piece in re.split(pattern, response)]
    if not all(pieces[1:-1]):
        return False
    return sum(map(bool, pieces)) == wanted


def _highlights(arguments: Arguments, response: str) -> bool:
    single = [match[1:-1].strip("*").strip() for match in re.findall(r"\*[^\n*]*\*", response)]
    double = [match[2:-2].strip() for match in re.findall(r"\*\*[^\n*]*\*\*", response)]
    return sum(map(bool, [*single, *double])) >= _number(arguments["num_highlights"])


def _first_word(arguments: Arguments, response: str) -> bool:
    pieces = response.split("\n\n")
    count, nth = sum(bool(piece.strip()) for piece in pieces), int(_number(arguments["nth_paragraph"]))
    # The n-th piece, blank ones counted, though the number of paragraphs is taken without them.
    if nth > count or not (paragraph := pieces[nth - 1].strip()):
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0].lower()
    return count == arguments["num_paragraphs"] and word == str(arguments["first_word"]).lower()


def _postscript(arguments: Arguments, response: str) -> bool:
    marker = str(arguments["postscript_marker"]).strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, marker.lower()), response.lower()) is not None


def _json(response: str) -> bool:
    body = response.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _two_responses(arguments: Arguments, response: str) -> bool:
    pieces = [piece.strip() for piece in response.split("******")]
    full = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(full) == 2 and full[0] != full[1]


def _letter(arguments: Arguments, response: str) -> bool:
    letter = str(arguments["letter"]).lower()
    if len(letter) != 1 or not "a" <= letter <= "z":
        raise UsageError(f"letter is {letter!r}; lm-eval would draw another at random, so that there is no verdict.")
    return _met(response.lower().count(letter), arguments["let_relation"], arguments["let_frequency"])


def _cased(response: str, right: bool) -> bool:
    return right and _language(response) in ("en", None)


Rule = Callable[[Arguments, str], bool]
RULES: dict[str, tuple[tuple[str, ...], Rule]] = {
    # Keywords are searched for as patterns, anywhere: "art" is found in "start", and "C++" is an error.
    "keywords:existence": (
        ("keywords",), lambda a, r: all(re.search(word, r, re.IGNORECASE) for word in _keywords(a["keywords"])),
    ),
    "keywords:frequency": (
        ("keyword", "frequency", "relation"),
        lambda a, r: _met(len(re.findall(str(a["keyword"]).strip(), r, re.IGNORECASE)), a["relation"], a["frequency"]),
    ),
    "keywords:forbidden_words": (
        ("forbidden_words",),
        lambda a, r: not any(
            re.search(rf"\b{word}\b", r, re.IGNORECASE) for word in _keywords(a["forbidden_words"])
        ),
    ),
    "keywords:letter_frequency": (("letter", "let_relation", "let_frequency"), _letter),
    "language:response_language": (("language",), lambda a, r: _language(r) in (a["language"], None)),
    "length_constraints:number_sentences": (
        ("num_sentences", "relation"),
        lambda a, r: _met(len(sentence_tokenizer().tokenize(r)), a["relation"], a["num_sentences"]),
    ),
    "length_constraints:number_paragraphs": (
        ("num_paragraphs",), lambda a, r: _divided(r, r"\s?\*\*\*\s?", int(_number(a["num_paragraphs"]))),
    ),
    "length_constraints:number_words": (
        ("num_words", "relation"), lambda a, r: _met(len(re.findall(r"\w+", r)), a["relation"], a["num_words"]),
    ),
    "length_constraints:nth_paragraph_first_word": (("num_paragraphs", "nth_paragraph", "first_word"), _first_word),
    "detectable_content:number_placeholders": (
        ("num_placeholders",), lambda a, r: len(re.findall(r"\[.*?\]", r)) >= _number(a["num_placeholders"]),
    ),
    "detectable_content:postscript": (("postscript_marker",), _postscript),
    "detectable_format:number_bullet_lists": (
        ("num_bullets",),
        lambda a, r: sum(len(re.findall(p, r, re.MULTILINE)) for p in (r"^\s*\*[^*].*$", r"^\s*-.*$"))
        == a["num_bullets"],
    ),
    "detectable_format:constrained_response": (
        (), lambda a, r: any(f"My answer is {answer}." in r for answer in ("yes", "no", "maybe")),
    ),
    "detectable_format:number_highlighted_sections": (("num_highlights",), _highlights),
    "detectable_format:multiple_sections": (
        ("section_spliter", "num_sections"),
        lambda a, r: len(re.findall(rf"\s?{str(a['section_spliter']).strip()}\s?\d+\s?", r)) >= _number(
            a["num_sections"]
        ),
    ),
    "detectable_format:json_format": ((), lambda a, r: _json(r)),
    "detectable_format:title": (
        (), lambda a, r: any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", r)),
    ),
    "combination:two_responses": ((), _two_responses),
    "combination:repeat_prompt": (
        ("prompt_to_repeat",), lambda a, r: r.strip().lower().startswith(str(a["prompt_to_repeat"]).strip().lower()),
    ),
    "startend:end_checker": (
        ("end_phrase",), lambda a, r: r.strip().strip('"').lower().endswith(str(a["end_phrase"]).strip().lower()),
    ),
    "startend:quotation": (
        (), lambda a, r: len(r.strip()) > 1 and r.strip()[0] == r.strip()[-1] == '"',
    ),
    "change_case:capital_word_frequency": (("capital_frequency", "capital_relation"), _capitals),
    "change_case:english_capital": ((), lambda a, r: _cased(r, r.isupper())),
    "change_case:english_lowercase": ((), lambda a, r: _cased(r, r.islower())),
    "punctuation:no_comma": ((), lambda a, r: "," not in r),
}  # fmt: skip
"""By id: the arguments without which there is no verdict, and the rule."""
