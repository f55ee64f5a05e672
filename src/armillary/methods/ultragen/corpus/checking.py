"""Responses in a file against the attributes that stand beside them: each row checked, a piece's rows counted."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.interchange.benchmarks import read_row
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError
from armillary.methods.ultragen.corpus.tally import CheckedAttribute, CheckedResponse, Tally
from armillary.methods.ultragen.soft.judges import JudgeChoice, opened_judge
from armillary.runs.pieces import Piece, Row, rows

RESPONSES = ("response", "completion", "output", "generation", "answer")
PROMPTS = ("prompt", "instruction", "question")
"""Names under which a row may hold the text; the first that is there counts."""

WORST = 12
"""Responses that a report shows with their marks: about as many as a reader looks at."""


@dataclass(frozen=True, kw_only=True)
class ResponseRow:
    """One row of a file of responses."""

    where: str
    prompt: str
    response: str
    attributes: tuple[Attribute, ...]
    imported: int = 0
    """Sentences of the row's list that are of no known kind, taken as soft attributes."""


def response_row(where: str, row: Row, catalogue: Catalogue) -> ResponseRow:
    """What a row says: its response, its prompt and its attributes.

    The attributes stand under ``attributes``, as objects or as sentences, or are those of an IFEval or an ultrabench
    row; without any, each line of the prompt that states an attribute of a known kind is one.

    Raises:
        UsageError: no response, or no attributes; the sentence names the row.
    """
    response = next((row[name] for name in RESPONSES if isinstance(row.get(name), str)), None)
    if not isinstance(response, str):
        raise UsageError(f"{where} has no response; give one as text under {', '.join(RESPONSES[:-1])} or "
                         f"{RESPONSES[-1]}.")  # fmt: skip
    prompt = _prompt(row)
    attributes, imported = _attributes(where, row, prompt, catalogue)
    if not attributes:
        raise UsageError(
            f"{where} has no attributes to check; give them under attributes (objects, or sentences as `armillary "
            "ultragen derive` writes them), or a prompt whose lines state them."
        )
    return ResponseRow(where=where, prompt=prompt, response=response, attributes=attributes, imported=imported)


def _prompt(row: Row) -> str:
    given = next((row[name] for name in PROMPTS if row.get(name)), "")
    if isinstance(given, list):  # turns of a conversation
        return "\n".join(str(turn.get("content", "")) for turn in given if isinstance(turn, Mapping))
    return str(given)


def _attributes(where: str, row: Row, prompt: str, catalogue: Catalogue) -> tuple[tuple[Attribute, ...], int]:
    """The attributes of a row and how many sentences among them are of no known kind."""
    given = row.get("attributes")
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = json.loads(given)
        except ValueError:
            raise UsageError(f"{where}: its attributes begin as a JSON list but are none.") from None
    if isinstance(given, str):
        given = given.split("\n")
    if isinstance(given, Sequence) and not isinstance(given, str):
        items = [item for item in given if not isinstance(item, str) or item.strip()]
        read = [_attribute(where, item, catalogue) for item in items]
        return tuple(attribute for attribute, _ in read), sum(unknown for _, unknown in read)
    if "instruction_id_list" in row or "hard_constraints" in row:
        # Rows of responses often come without the key of their prompt, which is not needed here.
        return read_row({"key": "", **row, "prompt": prompt}, where).attributes, 0
    parsed = (catalogue.parse(line) for line in prompt.split("\n") if line.strip())
    return tuple(attribute for attribute in parsed if attribute is not None), 0


def _attribute(where: str, item: object, catalogue: Catalogue) -> tuple[Attribute, bool]:
    if isinstance(item, str):
        parsed = catalogue.parse(item.strip())
        return (parsed, False) if parsed is not None else (soft(item.strip(), source="imported"), True)
    if not isinstance(item, Mapping):
        raise UsageError(f"{where}: an attribute is an object or a sentence, not {item!r:.80}.")
    try:
        attribute = Attribute.from_json(item)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if attribute.hard and attribute.kind not in catalogue.kinds:
        raise UsageError(f"{where}: there is no kind {attribute.kind!r}; known are {', '.join(catalogue.kinds)}.")
    return attribute, False


@cache
def default_catalogue() -> Catalogue:
    """The catalogue of a worker's process, made once."""
    return Catalogue.default()


def check_rows(
    located_rows: Iterator[tuple[str, Row]], judge_choice: JudgeChoice, limit: int | None = None
) -> Iterator[CheckedResponse]:
    """Each row checked, at most ``limit`` of them; their soft attributes are judged together."""
    catalogue = default_catalogue()
    judge = opened_judge(judge_choice)
    responses = [response_row(where, row, catalogue) for where, row in islice(located_rows, limit)]
    questions = [
        (row.response, [attribute for attribute in row.attributes if not attribute.hard]) for row in responses
    ]
    judged = judge.judge(questions) if judge is not None else [None] * len(responses)
    for response, verdicts_of_judge in zip(responses, judged, strict=True):
        known = None if verdicts_of_judge is None else partial(_as_judged, verdicts_of_judge)
        report = AttributeSet(attributes=response.attributes).check(response.response, judge=known)
        empty = not response.response.strip()
        unparsed = 0 if verdicts_of_judge is None or empty else verdicts_of_judge.count(None)
        verdicts = []
        for rank, (attribute, verdict) in enumerate(zip(response.attributes, report.verdicts, strict=True)):
            negative = attribute.hard and catalogue.kinds[attribute.kind].negative(attribute.params)
            # An empty response satisfies nothing, though what forbids is true of it.
            met = False if empty and verdict.satisfied else verdict.satisfied
            spans = [(span.start, span.end) for span in verdict.spans]
            verdicts.append(
                CheckedAttribute(
                    kind=attribute.kind, text=attribute.text, hard=attribute.hard,
                    negative=negative, rank=rank, met=met, measured=verdict.measured, spans=spans,
                )
            )  # fmt: skip
        yield CheckedResponse(
            where=response.where, prompt=response.prompt, response=response.response, verdicts=verdicts,
            unparsed=unparsed, imported=response.imported,
        )  # fmt: skip


def _as_judged(
    verdicts: Sequence[bool | None], response: str, attributes: Sequence[Attribute]
) -> Sequence[bool | None]:
    """A judge that has given its verdicts already."""
    return verdicts


def check_piece(piece: Piece, judge_choice: JudgeChoice, limit: int | None = None, keep: int = WORST) -> Tally:
    """The counts of a piece's responses, with the ``keep`` worst of them."""
    tally = Tally()
    for checked in check_rows(rows(piece), judge_choice, limit):
        tally.add(checked, keep)
    return tally
