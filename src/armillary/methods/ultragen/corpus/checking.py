"""Responses in a file against the attributes that stand beside them: each row checked, a piece's rows counted."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.interchange.imported import OnUnknown
from armillary.attributes.interchange.rows import prompt_of, row_attributes
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError
from armillary.methods.ultragen.corpus.tally import CheckedAttribute, CheckedResponse, Tally
from armillary.methods.ultragen.soft.judges import JudgeChoice, opened_judge
from armillary.runs.pieces import Piece, Row, rows

RESPONSES = ("response", "completion", "output", "generation", "answer")
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

    skipped: int = 0
    """Instructions of no known kind that were passed over; where they were all, there are no attributes."""


def response_row(where: str, row: Row, on_unknown: OnUnknown = "error") -> ResponseRow:
    """What a row says: its response, its prompt and its attributes, as ``row_attributes`` reads them.

    Raises:
        UsageError: no response, or no attributes; the sentence names the row.
    """
    response = next((row[name] for name in RESPONSES if isinstance(row.get(name), str)), None)
    if not isinstance(response, str):
        given = next(
            (f"its {name} is {json.dumps(row[name], default=str)[:40]}" for name in RESPONSES if name in row), ""
        )
        raise UsageError(f"{where} has no response{given and f' ({given})'}; give one as text under "
                         f"{', '.join(RESPONSES[:-1])} or {RESPONSES[-1]}.")  # fmt: skip
    read = row_attributes(row, where, on_unknown=on_unknown)
    if not read.attributes and not read.skipped:
        raise UsageError(
            f"{where} has no attributes to check; give them under attributes (objects, or sentences as `armillary "
            "ultragen derive` writes them), or a prompt whose lines state them."
        )
    return ResponseRow(
        where=where, prompt=prompt_of(row), response=response, attributes=read.attributes, imported=read.imported,
        skipped=read.skipped,
    )  # fmt: skip


@cache
def default_catalogue() -> Catalogue:
    """The catalogue of a worker's process, made once."""
    return Catalogue.default()


def check_rows(
    located_rows: Iterator[tuple[str, Row]],
    judge_choice: JudgeChoice,
    limit: int | None = None,
    on_unknown: OnUnknown = "error",
) -> Iterator[CheckedResponse]:
    """Each row checked, at most ``limit`` of them; their soft attributes are judged together."""
    catalogue = default_catalogue()
    judge = opened_judge(judge_choice)
    responses = [response_row(where, row, on_unknown) for where, row in islice(located_rows, limit)]
    questions = [
        (row.response, [attribute for attribute in row.attributes if not attribute.hard]) for row in responses
    ]
    judged = judge.judge(questions) if judge is not None else [None] * len(responses)
    for response, verdicts_of_judge in zip(responses, judged, strict=True):
        known = None if verdicts_of_judge is None else partial(_as_judged, verdicts_of_judge)
        if not response.attributes:  # all were passed over
            yield CheckedResponse(
                where=response.where, prompt=response.prompt, response=response.response, verdicts=[], unparsed=0,
                skipped=response.skipped,
            )  # fmt: skip
            continue
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
            unparsed=unparsed, imported=response.imported, skipped=response.skipped,
        )  # fmt: skip


def _as_judged(
    verdicts: Sequence[bool | None], response: str, attributes: Sequence[Attribute]
) -> Sequence[bool | None]:
    """A judge that has given its verdicts already."""
    return verdicts


def check_piece(
    piece: Piece,
    judge_choice: JudgeChoice,
    limit: int | None = None,
    keep: int = WORST,
    on_unknown: OnUnknown = "error",
) -> Tally:
    """The counts of a piece's responses, with the ``keep`` worst of them."""
    tally = Tally()
    for checked in check_rows(rows(piece), judge_choice, limit, on_unknown):
        tally.add(checked, keep)
    return tally
