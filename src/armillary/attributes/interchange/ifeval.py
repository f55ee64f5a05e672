"""The 25 instructions of IFEval as attributes, and back.

IFEval: Zhou and others 2023, arXiv 2311.07911; ids and arguments as lm-eval's registry has them. Its relations are "at
least k" and "less than k", which here is "at most k - 1".
"""

from collections.abc import Callable, Sequence

from armillary.attributes.attribute import Attribute
from armillary.attributes.interchange.imported import Arguments, ImportedPrompt, number, text, texts
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.wording import Params
from armillary.errors import UsageError

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The three answers of detectable_format:constrained_response."""

DIVIDER = "***"
"""Between paragraphs of length_constraints:number_paragraphs."""

Read = Callable[[Arguments], list[tuple[str, Params]]]


def _relation(given: Arguments, relation: str, threshold: str) -> Params:
    """``rel`` and ``k``."""
    k = number(given[threshold])
    stated = given[relation]
    if stated == "at least":
        return {"rel": ">=", "k": k}
    if stated != "less than":
        raise UsageError(f"{relation} is {stated!r:.40}; accepted are 'at least' and 'less than'.")
    if k == 0:
        raise UsageError(f"{threshold} is 0 and the relation 'less than', which nothing meets.")
    return {"rel": "<=", "k": k - 1}


def _bounds(given: Arguments, relation: str, threshold: str) -> Params:
    """``lo`` or ``hi``."""
    bound = _relation(given, relation, threshold)
    return {"lo" if bound["rel"] == ">=" else "hi": bound["k"]}


READ: dict[str, Read] = {
    "keywords:existence": lambda a: [("keyword_include", {"words": tuple(texts(a["keywords"]))})],
    "keywords:frequency": lambda a: [
        ("keyword_count", {"w": text(a["keyword"]).strip(), **_relation(a, "relation", "frequency")})
    ],
    "keywords:forbidden_words": lambda a: [("keyword_exclude", {"words": tuple(texts(a["forbidden_words"]))})],
    "keywords:letter_frequency": lambda a: [
        ("letter_count", {"letter": text(a["letter"]).lower(), **_relation(a, "let_relation", "let_frequency")})
    ],
    "language:response_language": lambda a: [("language", {"code": text(a["language"])})],
    "length_constraints:number_sentences": lambda a: [
        ("sentence_count", _bounds(a, "relation", "num_sentences"))
    ],
    "length_constraints:number_paragraphs": lambda a: [
        ("paragraph_count", {"k": number(a["num_paragraphs"]), "separator": DIVIDER})
    ],
    "length_constraints:number_words": lambda a: [("word_count", _bounds(a, "relation", "num_words"))],
    "length_constraints:nth_paragraph_first_word": lambda a: [
        (
            "paragraph_starts",
            {"k": number(a["num_paragraphs"]), "i": number(a["nth_paragraph"]), "w": text(a["first_word"])},
        )
    ],
    "detectable_content:number_placeholders": lambda a: [("placeholders", {"k": number(a["num_placeholders"])})],
    "detectable_content:postscript": lambda a: [("postscript", {"marker": text(a["postscript_marker"]).strip()})],
    "detectable_format:number_bullet_lists": lambda a: [("bullet_count", {"k": number(a["num_bullets"])})],
    "detectable_format:constrained_response": lambda a: [("constrained_response", {"options": ANSWERS})],
    "detectable_format:number_highlighted_sections": lambda a: [("highlights", {"k": number(a["num_highlights"])})],
    "detectable_format:multiple_sections": lambda a: [
        ("sections", {"label": text(a["section_spliter"]).strip(), "k": number(a["num_sections"])})
    ],
    "detectable_format:json_format": lambda a: [("json_format", {})],
    "detectable_format:title": lambda a: [("headings", {})],
    "combination:two_responses": lambda a: [("two_responses", {})],
    "combination:repeat_prompt": lambda a: [("repeat_prompt", {"prompt": text(a["prompt_to_repeat"])})],
    "startend:end_checker": lambda a: [("ends_with", {"phrase": text(a["end_phrase"]).strip()})],
    "startend:quotation": lambda a: [("quoted", {})],
    "change_case:capital_word_frequency": lambda a: [
        ("caps_words", _relation(a, "capital_relation", "capital_frequency"))
    ],
    "change_case:english_capital": lambda a: [("casing", {"case": "upper"}), ("language", {"code": "en"})],
    "change_case:english_lowercase": lambda a: [("casing", {"case": "lower"}), ("language", {"code": "en"})],
    "punctuation:no_comma": lambda a: [("punctuation_exclude", {"marks": (",",)})],
}  # fmt: skip
"""By id: kinds with their parameters, of the arguments that are given."""


def mapped(name: str, arguments: Arguments) -> list[Attribute] | None:
    """The attributes of an instruction; None for an id that is none of the 25."""
    read = READ.get(name)
    if read is None:
        return None
    kinds = Catalogue.default().kinds
    return [kinds[kind].attribute(params, "imported") for kind, params in read(arguments)]


def _at_least(params: Params, relation: str, threshold: str) -> dict[str, object] | None:
    if params["rel"] == "=":
        return None
    k = number(params["k"])
    return {relation: "at least", threshold: k} if params["rel"] == ">=" else {relation: "less than", threshold: k + 1}


def _one_bound(params: Params, threshold: str) -> dict[str, object] | None:
    if set(params) == {"lo"}:
        return {"relation": "at least", threshold: params["lo"]}
    return {"relation": "less than", threshold: number(params["hi"]) + 1} if set(params) == {"hi"} else None


def _with(extra: dict[str, object], arguments: dict[str, object] | None) -> dict[str, object] | None:
    return None if arguments is None else {**extra, **arguments}


WRITTEN: dict[str, tuple[str, Callable[[Params], dict[str, object] | None]]] = {
    "keyword_include": (
        "keywords:existence", lambda p: {"keywords": list(texts(p["words"])) if "words" in p else [text(p["w"])]},
    ),
    "keyword_count": (
        "keywords:frequency", lambda p: _with({"keyword": p["w"]}, _at_least(p, "relation", "frequency")),
    ),
    "keyword_exclude": ("keywords:forbidden_words", lambda p: {"forbidden_words": list(texts(p["words"]))}),
    "letter_count": (
        "keywords:letter_frequency",
        lambda p: _with({"letter": p["letter"]}, _at_least(p, "let_relation", "let_frequency")),
    ),
    "language": ("language:response_language", lambda p: {"language": p["code"]}),
    "sentence_count": ("length_constraints:number_sentences", lambda p: _one_bound(p, "num_sentences")),
    "paragraph_count": (
        "length_constraints:number_paragraphs",
        lambda p: {"num_paragraphs": p["k"]} if p.get("separator") == DIVIDER else None,
    ),
    "word_count": ("length_constraints:number_words", lambda p: _one_bound(p, "num_words")),
    "paragraph_starts": (
        "length_constraints:nth_paragraph_first_word",
        lambda p: {"num_paragraphs": p["k"], "nth_paragraph": p["i"], "first_word": p["w"]} if "k" in p else None,
    ),
    "placeholders": ("detectable_content:number_placeholders", lambda p: {"num_placeholders": p["k"]}),
    "postscript": ("detectable_content:postscript", lambda p: {"postscript_marker": p["marker"]}),
    "bullet_count": ("detectable_format:number_bullet_lists", lambda p: {"num_bullets": p["k"]}),
    "constrained_response": (
        "detectable_format:constrained_response", lambda p: {} if p["options"] == ANSWERS else None,
    ),
    "highlights": ("detectable_format:number_highlighted_sections", lambda p: {"num_highlights": p["k"]}),
    "sections": (
        "detectable_format:multiple_sections", lambda p: {"section_spliter": p["label"], "num_sections": p["k"]},
    ),
    "json_format": ("detectable_format:json_format", lambda p: None if p else {}),
    "headings": ("detectable_format:title", lambda p: None if p else {}),
    "two_responses": ("combination:two_responses", lambda p: None if p else {}),
    "repeat_prompt": ("combination:repeat_prompt", lambda p: {"prompt_to_repeat": p["prompt"]}),
    "ends_with": ("startend:end_checker", lambda p: {"end_phrase": p["phrase"]}),
    "quoted": ("startend:quotation", lambda p: None if p else {}),
    "caps_words": (
        "change_case:capital_word_frequency", lambda p: _at_least(p, "capital_relation", "capital_frequency"),
    ),
    "casing": (
        "change_case:english_capital", lambda p: {} if p["case"] == "upper" else None,
    ),
    "punctuation_exclude": ("punctuation:no_comma", lambda p: {} if p["marks"] == (",",) else None),
}  # fmt: skip
"""By kind: the id, and its arguments; None where the parameters say what IFEval has no words for."""


def written(attribute: Attribute) -> tuple[str, dict[str, object]] | None:
    """Id and arguments of an attribute; None where IFEval has no instruction for it."""
    if attribute.kind not in WRITTEN:
        return None
    if attribute.kind == "casing" and attribute.params["case"] == "lower":
        return "change_case:english_lowercase", {}
    name, arguments = WRITTEN[attribute.kind]
    given = arguments(attribute.params)
    return None if given is None else (name, given)


def ifeval_row(
    prompt: ImportedPrompt | Sequence[Attribute], *, key: int | str = 0, text_of_prompt: str = ""
) -> dict[str, object]:
    """A row of IFEval's file: of a prompt that was read, or of attributes with the text that asks for them.

    UsageError naming the first attribute that IFEval has no instruction for.
    """
    if isinstance(prompt, ImportedPrompt):
        return {
            "key": prompt.key,
            "prompt": prompt.prompt,
            "instruction_id_list": [instruction.id for instruction in prompt.instructions],
            "kwargs": [dict(instruction.arguments) for instruction in prompt.instructions],
        }
    pairs = []
    for attribute in prompt:
        pair = written(attribute)
        if pair is None:
            raise UsageError(f"IFEval has no instruction for {attribute.text!r:.80} ({attribute.kind}); leave it out.")
        pairs.append(pair)
    return {
        "key": key,
        "prompt": text_of_prompt or "\n".join(attribute.text for attribute in prompt),
        "instruction_id_list": [name for name, _ in pairs],
        "kwargs": [arguments for _, arguments in pairs],
    }
