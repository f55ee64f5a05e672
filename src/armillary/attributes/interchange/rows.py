"""What a row of anybody's file says of its attributes: the one reading that checks, rewards and training share.

They stand under ``attributes``, as objects, as sentences, as JSON of either or as sentences one a line; or they are
the instructions of an IFEval, IFBench or ultrabench row; or each line of the prompt that states one of a known kind is
one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.interchange.benchmarks import read_row
from armillary.attributes.interchange.imported import OnUnknown
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError

PROMPTS = ("prompt", "instruction", "question")
"""Names under which a row may hold what was asked for; the first that is there counts."""

COLUMNS = ("attributes", "instruction_id_list", "hard_constraints")
"""A row with one of these says its attributes itself, and its prompt is not looked through."""

ACCEPTED = "accepted are a list of objects or sentences, that list as JSON text, and sentences one a line"


@dataclass(frozen=True, kw_only=True)
class RowAttributes:
    """The attributes of a row."""

    attributes: tuple[Attribute, ...]
    imported: int = 0
    """Sentences of its list that are of no known kind, taken as soft attributes."""

    skipped: int = 0
    """Instructions and objects of no known kind that were passed over."""


def row_attributes(row: Mapping[str, object], where: str, *, on_unknown: OnUnknown = "error") -> RowAttributes:
    """The attributes of a row, none where it has none. UsageError naming the place ``where`` of what can't be read.

    ``on_unknown``: whether an id or a kind that is not in the catalogue is an error, or passed over and counted.
    """
    given = row.get("attributes")
    if given is not None:
        return cell_attributes(given, where, on_unknown=on_unknown)
    if "instruction_id_list" in row or "hard_constraints" in row:
        # Rows of responses often come without the key of their prompt, which is not needed here.
        read = read_row({"key": "", **row, "prompt": prompt_of(row)}, where, on_unknown=on_unknown)
        return RowAttributes(attributes=read.attributes, skipped=len(read.unchecked))
    parsed = [_parsed(line.strip()) for line in prompt_of(row).split("\n") if line.strip()]
    return RowAttributes(attributes=tuple(attribute for attribute in parsed if attribute is not None))


def cell_attributes(value: object, where: str, *, on_unknown: OnUnknown = "error") -> RowAttributes:
    """The attributes that stand in one cell, a set itself included. Errors as ``row_attributes``."""
    if isinstance(value, AttributeSet):
        return RowAttributes(attributes=value.attributes)
    items = value
    if isinstance(items, str) and items.lstrip().startswith("["):
        try:
            items = json.loads(items)
        except (ValueError, RecursionError):
            raise UsageError(f"{where}: its attributes begin as a JSON list but are none.") from None
    if isinstance(items, str):
        items = items.split("\n")
    if not isinstance(items, Sequence) or isinstance(items, bytes):
        raise UsageError(f"{where}: its attributes are {value!r:.80}; {ACCEPTED}.")
    attributes: list[Attribute] = []
    imported = skipped = 0
    for item in items:
        if isinstance(item, str):
            if sentence := item.strip():
                known = _parsed(sentence)
                imported += known is None
                attributes.append(known or soft(sentence, source="imported"))
        elif (attribute := _of_object(item, where, on_unknown)) is not None:
            attributes.append(attribute)
        else:
            skipped += 1
    return RowAttributes(attributes=tuple(attributes), imported=imported, skipped=skipped)


def _of_object(item: object, where: str, on_unknown: OnUnknown) -> Attribute | None:
    """The attribute of an object; None where its kind is passed over."""
    if not isinstance(item, Mapping):
        raise UsageError(f"{where}: an attribute is an object or a sentence, not {item!r:.80}.")
    kinds = Catalogue.default().kinds
    try:
        attribute = Attribute.from_json(item)
        if attribute.hard and attribute.kind in kinds:
            kinds[attribute.kind].validated(attribute)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if attribute.hard and attribute.kind not in kinds:
        if on_unknown == "error":
            raise UsageError(f"{where}: there is no kind {attribute.kind!r}; known are {', '.join(kinds)}.")
        return None
    return attribute


# A sentence comes again with each response to its prompt, and to be read is compared with the forms of all kinds.
@lru_cache(maxsize=16_384)
def _parsed(sentence: str) -> Attribute | None:
    return Catalogue.default().parse(sentence)


def prompt_of(row: Mapping[str, object]) -> str:
    """The prompt of a row, of a conversation the contents of its turns one below another; empty without one."""
    given = next((row[name] for name in PROMPTS if row.get(name)), "")
    if isinstance(given, list | tuple):
        return "\n".join(str(turn.get("content", "")) for turn in given if isinstance(turn, Mapping))
    return str(given)
