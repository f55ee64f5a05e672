"""What needs a plug-in: shares of parts of speech, the language, named entities (catalogue 38, 40 and 41)."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.kinds.verdicts import around, at_least, bounded, text_of
from armillary.attributes.languages import language_of
from armillary.attributes.text_stats import Pair, TextStats
from armillary.attributes.wording import NUMBER, TEXT, Params, Wording, one_of

SLACK = 0.05
"""By which the share of a part of speech may differ."""

TAGS = {"NOUN": "nouns", "VERB": "verbs", "ADJ": "adjectives", "ADV": "adverbs"}
ENTITIES = {
    "PERSON": "a person", "ORG": "an organisation", "GPE": "a country or city", "DATE": "a date", "LOC": "a place",
    "PRODUCT": "a product",
}  # fmt: skip

CODES = {
    "English": "en", "German": "de", "French": "fr", "Spanish": "es", "Italian": "it", "Portuguese": "pt",
    "Dutch": "nl", "Japanese": "ja", "Chinese": "zh", "Korean": "ko", "Arabic": "ar", "Hebrew": "he", "Greek": "el",
    "Hindi": "hi", "Thai": "th",
}  # fmt: skip
"""What the detector at hand tells apart. Of the Cyrillic and the other Arabic and Devanagari languages it tells the
script alone: those need a detector of their own."""


@dataclass(frozen=True)
class Tagged:
    """What a tagger says of a text: the part of speech of each of its words, and its entities with their type."""

    tags: Sequence[str]
    """Universal part-of-speech tags, one a word; punctuation left out."""

    entities: Sequence[tuple[str, Pair]]
    """Type and place (characters of the text that was given to the tagger)."""


Tagger = Callable[[str], Tagged]
Detector = Callable[[str], str | None]
"""ISO code of the language of a text; None where it is less than 0.9 sure."""


def packaged_detector(text: str) -> str | None:
    """By commonest words, letters and script; see ``attributes.languages``."""
    detected = language_of(text)
    return None if detected is None else CODES.get(detected)


def _missing(kind: str, tagger: Tagger | None) -> str | None:
    lacks = (
        f"{kind} needs a tagger: give Catalogue.default(CatalogueSettings(tagger=...)), for example one from spaCy."
    )
    return lacks if tagger is None else None


def kinds(tagger: Tagger | None, detector: Detector) -> tuple[AttributeKind, ...]:
    """The kinds of this family; without a tagger two of them only say that it is missing."""

    def tagged(stats: TextStats) -> Tagged:
        if "tagged" not in stats.shared and tagger is not None:
            stats.shared["tagged"] = tagger(stats.text)
        kept = stats.shared["tagged"]
        assert isinstance(kept, Tagged)
        return kept

    def share(stats: TextStats, tag: str) -> float:
        tags = tagged(stats).tags
        return sum(each == tag for each in tags) / max(1, len(tags))

    def shares(stats: TextStats, draw: random.Random) -> Iterable[Params]:
        tag = draw.choice(list(TAGS))
        bounds = around(share(stats, tag), SLACK, 2)
        yield {"tag": tag, "lo": max(0.0, bounds["lo"]), "hi": bounds["hi"]}

    def check_share(params: Params, stats: TextStats) -> Verdict:
        tag = text_of(params, "tag")
        return bounded(share(stats, tag), params, lambda: f"{share(stats, tag):.2f} {TAGS[tag]}")

    def entities(stats: TextStats, draw: random.Random) -> Iterable[Params]:
        present = dict.fromkeys(kind for kind, _ in tagged(stats).entities if kind in ENTITIES)
        return [{"type": kind} for kind in present]

    def check_entity(params: Params, stats: TextStats) -> Verdict:
        pairs = [pair for kind, pair in tagged(stats).entities if kind == params["type"]]
        return at_least(stats, pairs, {"k": 1}, "name")

    def detected(stats: TextStats) -> str | None:
        if "language" not in stats.shared:
            own = detector is packaged_detector
            stats.shared["language"] = CODES.get(stats.detected or "") if own else detector(stats.text)
        kept = stats.shared["language"]
        return kept if isinstance(kept, str) else None

    def languages(stats: TextStats, draw: random.Random) -> Iterable[Params]:
        code = None if stats.is_document else detected(stats)
        return [] if code is None else [{"code": code}]

    def check_language(params: Params, stats: TextStats) -> Verdict:
        code, wanted = detected(stats), text_of(params, "code").casefold()
        if detector is packaged_detector and wanted not in CODES.values():
            return Verdict(None, f"not judged: {wanted} needs detector=")
        return Verdict(code == wanted, f"is {code}" if code else "language unclear")

    return (
        AttributeKind(
            id="pos_ratio",
            family="languages",
            priority="style",
            wording=Wording(
                "Let {tag} be between {lo} and {hi} of all words, as a share.",
                tag=one_of(TAGS), lo=NUMBER, hi=NUMBER,
            ),
            derived=shares,
            checked=check_share,
            missing=_missing("pos_ratio", tagger),
        ),
        AttributeKind(
            id="language",
            family="languages",
            priority="format",
            wording=Wording("Write in the language with the code {code}.", code=TEXT),
            derived=languages,
            checked=check_language,
        ),
        AttributeKind(
            id="named_entity",
            family="languages",
            priority="content",
            wording=Wording("Name {type}.", type=one_of(ENTITIES)),
            derived=entities,
            checked=check_entity,
            missing=_missing("named_entity", tagger),
        ),
    )  # fmt: skip
