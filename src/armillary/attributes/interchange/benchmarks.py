"""Files of three benchmarks, one JSON object a line: each row read as a prompt, and ultrabench's written.

IFEval and IFBench (Pyatkin and others 2025, arXiv 2507.02833) have ``key, prompt, instruction_id_list, kwargs``;
ultrabench (Yun and others 2025) has ``hard_constraints`` and ``soft_constraints`` with the sentences of the prompt.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.interchange import ifeval
from armillary.attributes.interchange.imported import (
    Arguments,
    Benchmark,
    ImportedPrompt,
    Mapped,
    OnUnknown,
    instructions_of,
    number,
    text,
    texts,
)
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.wording import Params
from armillary.errors import UsageError
from armillary.files import json_rows

TIMES = (1, 2, 3, 5, 7)
"""How often each of the five words of IFBench's count:keywords_multiple is asked for."""


def read_ifeval(path: Path | str, *, on_unknown: OnUnknown = "error") -> Iterator[ImportedPrompt]:
    """The prompts of an IFEval file. UsageError naming the line of what can't be read."""
    return _plain_rows(path, "ifeval", ifeval.mapped, on_unknown)


def read_ifbench(path: Path | str, *, on_unknown: OnUnknown = "error") -> Iterator[ImportedPrompt]:
    """The prompts of an IFBench file; of its 58 new instructions four are kinds of the catalogue.

    Those are a range of words, five keywords so often each, a keyword in the n-th sentence, and one of some answers.
    """
    return _plain_rows(path, "ifbench", _ifbench, on_unknown)


def read_row(row: Mapping[str, object], where: str, *, on_unknown: OnUnknown = "error") -> ImportedPrompt:
    """The prompt of one row, which may hold more (a response): ultrabench's where it has hard_constraints, else
    IFEval's or IFBench's. UsageError naming the place ``where`` of what can't be read."""
    if "hard_constraints" in row:
        return _ultrabench_row(row, where, on_unknown)
    return _plain_row(row, where, "ifbench", _ifbench, on_unknown)


def _plain_rows(
    path: Path | str, benchmark: Benchmark, mapped: Mapped, on_unknown: OnUnknown
) -> Iterator[ImportedPrompt]:
    for where, row in json_rows(path, "key, prompt, instruction_id_list and kwargs"):
        yield _plain_row(row, where, benchmark, mapped, on_unknown)


def _plain_row(
    row: Mapping[str, object], where: str, benchmark: Benchmark, mapped: Mapped, on_unknown: OnUnknown
) -> ImportedPrompt:
    key, prompt = row.get("key"), row.get("prompt")
    if not isinstance(key, int | str) or not isinstance(prompt, str):
        raise UsageError(f"{where}: a row needs key and prompt; it has {', '.join(map(str, row)) or 'nothing'}.")
    instructions = instructions_of(row.get("instruction_id_list"), row.get("kwargs"), mapped, where, on_unknown)
    return ImportedPrompt(key=key, prompt=prompt, instructions=instructions, benchmark=benchmark)


def _ifbench(name: str, given: Arguments) -> list[Attribute] | None:
    made: list[tuple[str, Params]]
    match name:
        case "count:word_count_range":
            made = [("word_count", {"lo": number(given["min_words"]), "hi": number(given["max_words"])})]
        case "count:keywords_multiple":
            words = [text(given[f"keyword{place}"]) for place in range(1, 6)]
            made = [("keyword_count", {"w": w, "rel": "=", "k": k}) for w, k in zip(words, TIMES, strict=True)]
        case "sentence:keyword":
            made = [("sentence_contains", {"i": number(given["N"]), "w": text(given["word"])})]
        case "format:options":
            made = [("constrained_response", {"options": tuple(text(given["options"]).split("/"))})]
        case _:
            return ifeval.mapped(name, given)
    kinds = Catalogue.default().kinds
    return [kinds[kind].attribute(params, "imported") for kind, params in made]


RENAMED = {
    "language:response_language": "language:response_language",
    "linguistic:english_capital": "change_case:english_capital",
    "linguistic:english_lowercase": "change_case:english_lowercase",
    "linguistic:no_comma": "punctuation:no_comma",
    "linguistic:quotation": "startend:quotation",
    "linguistic:title": "detectable_format:title",
    "linguistic:number_bullet_lists": "detectable_format:number_bullet_lists",
    "linguistic:number_highlighted_sections": "detectable_format:number_highlighted_sections",
    "structure:number_sentences": "length_constraints:number_sentences",
    "structure:number_words": "length_constraints:number_words",
    "structure:number_paragraphs": "length_constraints:number_paragraphs",
    "structure:nth_paragraph_first_word": "length_constraints:nth_paragraph_first_word",
    "structure:postscript": "detectable_content:postscript",
    "structure:multiple_sections": "detectable_format:multiple_sections",
    "content:existence": "keywords:existence",
    "content:forbidden_words": "keywords:forbidden_words",
    "frequency:frequency": "keywords:frequency",
    "frequency:letter_frequency": "keywords:letter_frequency",
    "frequency:capital_word_frequency": "change_case:capital_word_frequency",
    "format:json_format": "detectable_format:json_format",
    "format:end_checker": "startend:end_checker",
    "format:number_placeholders": "detectable_content:number_placeholders",
}
"""ultrabench's names of IFEval's instructions."""


def _ultrabench(name: str, given: Arguments) -> list[Attribute] | None:
    made: list[tuple[str, Params]]
    match name:
        case "content:named_entity":
            made = [("named_entity", {"type": text(given["entity_type"])})]
        case "content:key_sentences":
            sentences = tuple(texts(given["key_sentences"]))
            made = [
                ("key_sentences", {"k": number(given.get("num_sentences", len(sentences))), "sentences": sentences})
            ]
        case "frequency:specific_number":
            made = [("number_include", {"n": number(given["target_number"])})]
        case "format:include_hyperlink":
            made = [("hyperlink", {"k": 1})]
        case "format:question_ending":
            made = [("question_ending", {})]
        case _:
            return ifeval.mapped(RENAMED[name], given) if name in RENAMED else None
    kinds = Catalogue.default().kinds
    return [kinds[kind].attribute(params, "imported") for kind, params in made]


def read_ultrabench(path: Path | str, *, on_unknown: OnUnknown = "error") -> Iterator[ImportedPrompt]:
    """The prompts of an ultrabench file, whose 27 instructions are all kinds of the catalogue."""
    for where, row in json_rows(path, "key, hard_constraints and soft_constraints"):
        yield _ultrabench_row(row, where, on_unknown)


def _ultrabench_row(row: Mapping[str, object], where: str, on_unknown: OnUnknown) -> ImportedPrompt:
    key, hard, judged = row.get("key"), row.get("hard_constraints"), row.get("soft_constraints", {})
    if not isinstance(key, int | str) or not isinstance(hard, Mapping) or not isinstance(judged, Mapping):
        raise UsageError(f"{where}: a row needs key, hard_constraints and soft_constraints.")
    ids, arguments = hard.get("instruction_id_list"), hard.get("kwargs")
    instructions = instructions_of(ids, arguments, _ultrabench, where, on_unknown)
    try:
        sentences, requirements = texts(hard.get("prompt", [])), texts(judged.get("prompt", []))
    except TypeError as error:
        raise UsageError(f"{where}: prompt must be a list of sentences: {error}") from error
    return ImportedPrompt(
        key=key,
        prompt=str(row.get("prompt") or "\n".join([*requirements, *sentences])),
        instructions=instructions,
        soft=tuple(soft(sentence, source="imported") for sentence in requirements if sentence.strip()),
        sentences=tuple(sentences),
        benchmark="ultrabench",
    )


NEW = {
    "named_entity": ("content:named_entity", "entity_type", "type"),
    "number_include": ("frequency:specific_number", "target_number", "n"),
}
"""Kinds that are an instruction of ultrabench's own, with its argument and our parameter."""


def ultrabench_row(
    attributes: "ImportedPrompt | tuple[Attribute, ...] | list[Attribute]", *, key: int | str = 0
) -> dict[str, object]:
    """A row of ultrabench's file: of a prompt that was read, or of attributes.

    UsageError naming the first hard attribute that ultrabench has no instruction for.
    """
    if isinstance(attributes, ImportedPrompt):
        ids = [instruction.id for instruction in attributes.instructions]
        arguments = [dict(instruction.arguments) for instruction in attributes.instructions]
        sentences = [*attributes.sentences]
        requirements = [attribute.text for attribute in attributes.soft]
        key = attributes.key
    else:
        hard = [attribute for attribute in attributes if attribute.hard]
        pairs = [_written(attribute) for attribute in hard]
        ids, arguments = [name for name, _ in pairs], [given for _, given in pairs]
        sentences = [attribute.text for attribute in hard]
        requirements = [attribute.text for attribute in attributes if not attribute.hard]
    return {
        "key": key,
        "hard_constraints": {"instruction_id_list": ids, "kwargs": arguments, "prompt": sentences},
        "soft_constraints": {"prompt": requirements},
    }


def _written(attribute: Attribute) -> tuple[str, dict[str, object]]:
    params = attribute.params
    if attribute.kind in NEW:
        name, argument, ours = NEW[attribute.kind]
        return name, {argument: params[ours]}
    if attribute.kind == "key_sentences":
        sentences = list(texts(params["sentences"]))
        return "content:key_sentences", {"key_sentences": sentences, "num_sentences": params["k"]}
    if attribute.kind == "question_ending" or (attribute.kind == "hyperlink" and params["k"] == 1):
        return {"question_ending": "format:question_ending", "hyperlink": "format:include_hyperlink"}[
            attribute.kind
        ], {}
    pair = ifeval.written(attribute)
    names = {theirs: own for own, theirs in RENAMED.items()}
    if pair is None or pair[0] not in names:
        raise UsageError(f"ultrabench has no instruction for {attribute.text!r:.80} ({attribute.kind}); leave it out.")
    return names[pair[0]], pair[1]
