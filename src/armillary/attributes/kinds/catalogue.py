"""All kinds of hard attributes by id, with what they need to read a text."""

import hashlib
import random
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from armillary.attributes.attribute import Attribute, AttributeKind, Verdict
from armillary.attributes.candidates import NO_CORPUS, CorpusWords
from armillary.attributes.kinds import (
    casing,
    formats,
    keywords,
    languages,
    lengths,
    positions,
    punctuation,
    style,
    whole,
)
from armillary.attributes.kinds.languages import Detector, Tagger, packaged_detector
from armillary.attributes.text_stats import TextStats, Tokenizer, WordMode
from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CatalogueSettings:
    """How texts are read: all that a catalogue can be made with."""

    corpus: CorpusWords = NO_CORPUS
    """Weighs keywords, and gives the words that are excluded."""

    tagger: Tagger | None = None
    """Without one, ``pos_ratio`` and ``named_entity`` are left out."""

    detector: Detector = packaged_detector
    tokenizer: Tokenizer | None = None
    """Needed for scripts without spaces between words."""

    language: str | None = None
    """ISO code of the texts, where they are known to be in a language other than English."""

    words: WordMode = "plain"


class Catalogue:
    """Every kind by its id: what is derived from texts and what is checked of responses."""

    def __init__(self, settings: CatalogueSettings) -> None:
        self.settings = settings
        every = (
            *lengths.KINDS, *keywords.kinds(settings.corpus), *positions.KINDS, *punctuation.KINDS, *casing.KINDS,
            *formats.KINDS, *style.KINDS, *languages.kinds(settings.tagger, settings.detector), *whole.KINDS,
        )  # fmt: skip
        self.kinds: Mapping[str, AttributeKind] = MappingProxyType({kind.id: kind for kind in every})

    def __reduce__(self) -> tuple[type["Catalogue"], tuple[CatalogueSettings]]:
        # Kinds hold functions made where they stand, which do not travel to another process: they are made anew there.
        return Catalogue, (self.settings,)

    @classmethod
    def default(cls, settings: CatalogueSettings | None = None) -> "Catalogue":
        """The whole catalogue; the same object each time where nothing is given."""
        if settings is not None:
            return cls(settings)
        global _standard
        if _standard is None:
            _standard = cls(CatalogueSettings())
        return _standard

    def stats(self, text: str) -> TextStats:
        """The analysis of a text that all its checks share."""
        settings = self.settings
        return TextStats(text, words=settings.words, tokenizer=settings.tokenizer, language=settings.language)

    def _analysed(self, text: str | TextStats) -> TextStats:
        return text if isinstance(text, TextStats) else self.stats(text)

    def kind(self, name: str) -> AttributeKind:
        """The kind of this id; UsageError where there is none."""
        if name not in self.kinds:
            raise UsageError(f"no attribute is of kind {name!r}; kinds are {', '.join(self.kinds)}.")
        return self.kinds[name]

    def derive(self, text: str | TextStats, seed: int = 0, kinds: Collection[str] | None = None) -> list[Attribute]:
        """All that the text can be said to fulfil, kind by kind, each checked on the text itself.

        What is drawn at random depends on the seed, the kind and the text alone, never on what else was asked for or
        on the process. A blank text gives none, with a warning.
        """
        stats = self._analysed(text)
        if stats.is_empty:
            warnings.warn("the text is blank: nothing can be derived from it.", stacklevel=2)
            return []
        derived = []
        for attribute in self.proposed(stats, seed, kinds):
            if self.kinds[attribute.kind].check(attribute, stats).satisfied:
                derived.append(attribute)
            else:
                warnings.warn(f"left out, since its own text has it not: {attribute.text}", stacklevel=2)
        return derived

    def proposed(self, stats: TextStats, seed: int = 0, kinds: Collection[str] | None = None) -> Iterator[Attribute]:
        """What the kinds say of the text, not yet checked on it."""
        if isinstance(kinds, str):
            raise UsageError(f"kinds is {kinds!r}; it is a list of ids, as [{kinds!r}].")
        chosen = self.kinds.values() if kinds is None else [self.kind(name) for name in kinds]
        origin = hashlib.blake2b(stats.given.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        for kind in chosen:
            yield from kind.derive(stats, random.Random(f"{seed} {kind.id} {origin}"))

    def check(self, attribute: Attribute, response: str | TextStats) -> Verdict:
        """Whether the response has the attribute; None where only a judge can say. UsageError for an unknown kind."""
        if not attribute.hard:
            return Verdict(None, "not judged: needs a judge")
        kind = self.kinds.get(attribute.kind) or self.kind(attribute.kind)
        return kind.check(attribute, self._analysed(response))

    def render(self, attribute: Attribute) -> str:
        """The sentence that states the attribute: the same for the same parameters."""
        return self.kind(attribute.kind).render(attribute) if attribute.hard else attribute.text

    def parse(self, sentence: str) -> Attribute | None:
        """The hard attribute that ``render`` states in these words; None where no kind states any so."""
        for kind in self.kinds.values():
            if (attribute := kind.parse(sentence)) is not None:
                return attribute
        return None


_standard: Catalogue | None = None
