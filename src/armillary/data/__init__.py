"""Small, real data with source and licence: relations, classes of words, texts and pictures. Names resolve lazily."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.data.capability import capabilities as capabilities
    from armillary.data.capability import capability_counts as capability_counts
    from armillary.data.capability import capability_source as capability_source
    from armillary.data.capability import capability_texts as capability_texts
    from armillary.data.capability import equal_capability_texts as equal_capability_texts
    from armillary.data.emoji import Emoji as Emoji
    from armillary.data.emoji import EmojiLabel as EmojiLabel
    from armillary.data.emoji import fetch_emoji as fetch_emoji
    from armillary.data.emoji import load_emoji as load_emoji
    from armillary.data.matching import Matcher as Matcher
    from armillary.data.picture_colour import COLOURS as COLOURS
    from armillary.data.picture_colour import dominant_colour as dominant_colour
    from armillary.data.picture_tasks import PICTURE_TASKS as PICTURE_TASKS
    from armillary.data.picture_tasks import PictureExample as PictureExample
    from armillary.data.picture_tasks import answer_counts as answer_counts
    from armillary.data.picture_tasks import group_codes as group_codes
    from armillary.data.picture_tasks import picture_examples as picture_examples
    from armillary.data.probes import Probe as Probe
    from armillary.data.probes import probe as probe
    from armillary.data.probes import probe_ids as probe_ids
    from armillary.data.prompts import PROMPTS as PROMPTS
    from armillary.data.prompts import prompt_words as prompt_words
    from armillary.data.relation_file import load_relation_file as load_relation_file
    from armillary.data.relations import Group as Group
    from armillary.data.relations import Relation as Relation
    from armillary.data.relations import relation as relation
    from armillary.data.relations import relation_ids as relation_ids
    from armillary.data.sources import Source as Source
    from armillary.data.sources import sources_of as sources_of
    from armillary.data.spelling import normalised as normalised
    from armillary.data.texts import corpora as corpora
    from armillary.data.texts import corpus_source as corpus_source

_NAMES = {
    "capability": (
        "capabilities",
        "capability_counts",
        "capability_source",
        "capability_texts",
        "equal_capability_texts",
    ),
    "emoji": ("Emoji", "EmojiLabel", "fetch_emoji", "load_emoji"),
    "matching": ("Matcher",),
    "picture_colour": ("COLOURS", "dominant_colour"),
    "picture_tasks": ("PICTURE_TASKS", "PictureExample", "answer_counts", "group_codes", "picture_examples"),
    "probes": ("Probe", "probe", "probe_ids"),
    "prompts": ("PROMPTS", "prompt_words"),
    "relation_file": ("load_relation_file",),
    "relations": ("Group", "Relation", "relation", "relation_ids"),
    "sources": ("Source", "sources_of"),
    "spelling": ("normalised",),
    "texts": ("corpora", "corpus_source"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = sorted(_HOMES)
