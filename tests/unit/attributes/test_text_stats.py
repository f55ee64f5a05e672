"""The analysis: words, sentences and places in any script, and languages and scripts that need to be told."""

import time

import pytest

from armillary.attributes.candidates import CorpusWords, candidates, stem
from armillary.attributes.characters import combining, holds_combining
from armillary.attributes.kinds.catalogue import Catalogue, CatalogueSettings
from armillary.attributes.kinds.languages import Tagged
from armillary.attributes.kinds.style import flesch_kincaid, mattr
from armillary.attributes.syllables import syllables_of
from armillary.attributes.text_stats import TextStats

CHINESE = "\u4f60\u597d\u4e16\u754c\u3002\u518d\u89c1\u3002"
GERMAN = "Das ist nicht der Hund, und die Katze ist auch nicht da. " * 5


def test_words_of_each_mode() -> None:
    text = "Don\u2019t re-use x_1, it costs 3.5 \u20ac."
    assert TextStats(text).folded == ["don't", "re-use", "x", "1", "it", "costs", "3", "5"]
    assert len(TextStats(text, words="whitespace").words) == 7
    assert TextStats(text, words="ifeval").words == ["Don", "t", "re", "use", "x_1", "it", "costs", "3", "5"]


def test_marks_belong_to_their_letter() -> None:
    assert TextStats("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e").words == [
        "\u0939\u093f\u0928\u094d\u0926\u0940", "\u092d\u093e\u0937\u093e",
    ]  # fmt: skip
    assert TextStats("cafe\u0301 STRASSE stra\u00dfe").folded == ["caf\u00e9", "strasse", "strasse"]


def test_places_lie_in_the_text_as_given() -> None:
    given = "\r\n  A cafe\u0301\r\nand \u1112\u1161\u11ab tea  "
    stats = TextStats(given)
    spans = stats.spans([*stats.find("caf\u00e9"), *stats.find("\ud55c"), *stats.find("and")])
    assert [given[span.start : span.end] for span in spans] == ["cafe\u0301", "\u1112\u1161\u11ab", "and"]


def test_known_values_of_style() -> None:
    assert flesch_kincaid(TextStats("The cat sat on the mat.")) == pytest.approx(-1.45)
    assert mattr(TextStats("word " * 70)) == pytest.approx(1 / 50)
    varied = " ".join(f"a{number % 60}" for number in range(130))
    words = varied.split()
    windows = [len(set(words[at : at + 50])) / 50 for at in range(len(words) - 49)]
    assert mattr(TextStats(varied)) == pytest.approx(sum(windows) / len(windows))
    assert [syllables_of(word) for word in ("table", "made", "wanted", "walked", "the", "information")] == [
        2,
        1,
        2,
        1,
        1,
        4,
    ]


def pairs_of_characters(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def test_scripts_without_spaces_need_a_tokenizer() -> None:
    catalogue = Catalogue.default()
    words = catalogue.kind("word_count").attribute({"hi": 10})
    verdict = catalogue.check(words, CHINESE)
    assert (verdict.satisfied, verdict.measured) == (None, "not judged: words of this script need tokenizer=")
    assert {"sentence_count", "char_count"} <= {each.kind for each in catalogue.derive(CHINESE)}
    tokenizing = Catalogue.default(CatalogueSettings(tokenizer=pairs_of_characters))
    assert tokenizing.check(words, CHINESE).satisfied is True
    assert "word_count" in {each.kind for each in tokenizing.derive(CHINESE)}
    include = catalogue.kind("keyword_include").attribute({"w": "\u4e16\u754c"})
    assert catalogue.check(include, CHINESE).satisfied is True


def test_style_of_another_language_needs_it_named() -> None:
    catalogue = Catalogue.default()
    richness = catalogue.kind("lexical_richness").attribute({"lo": 0, "hi": 1})
    assert catalogue.check(richness, GERMAN).measured == "not judged: the text is in German, which needs language="
    assert "lexical_richness" not in {each.kind for each in catalogue.derive(GERMAN)}
    named = Catalogue.default(CatalogueSettings(language="de"))
    assert named.check(richness, GERMAN).satisfied is True
    assert "lexical_richness" in {each.kind for each in named.derive(GERMAN)}


def test_plug_ins_bring_their_kinds() -> None:
    def tagger(text: str) -> Tagged:
        words = TextStats(text).words
        entities = [("ORG", (text.index(word), text.index(word) + len(word))) for word in words if word == "NASA"]
        return Tagged(["NOUN" if word[0].isupper() else "VERB" for word in words], entities)

    catalogue = Catalogue.default(CatalogueSettings(tagger=tagger))
    derived = catalogue.derive("NASA builds and flies.", kinds=["pos_ratio", "named_entity"])
    assert [each.kind for each in derived] == ["pos_ratio", "named_entity"]
    verdict = catalogue.check(derived[1], "Today NASA flies.")
    assert [(span.start, span.end) for span in verdict.spans] == [(6, 10)]
    assert catalogue.check(derived[1], "Today it flies.").satisfied is False
    unknown = catalogue.kind("language").attribute({"code": "sw"})
    assert catalogue.check(unknown, "Habari yako").satisfied is None


def test_keywords_are_weighed_by_the_corpus() -> None:
    text = "The driver reads the disk. The driver uses rare quaternions."
    plain = [each.keyword for each in candidates(TextStats(text))]
    assert plain[0] == "driver"
    assert "disk" in plain
    assert "driver uses rare" in plain
    corpus = CorpusWords.of(["the driver", "the driver and the disk", "one driver"])
    assert corpus.weight("driver") < corpus.weight("disk") < corpus.weight("quaternions")
    assert corpus.frequent() == ["driver", "disk"]
    assert {stem(word) for word in ("tests", "testing", "tested", "test")} == {"test"}
    excluded = Catalogue.default(CatalogueSettings(corpus=corpus)).derive("Nothing here.", kinds=["keyword_exclude"])
    assert {word for each in excluded for word in each.params["words"]} <= {"driver", "disk"}  # type: ignore[union-attr]


PATTERNED = (
    "highlights", "placeholders", "quoted", "code_or_table", "bullet_count", "sentence_count", "headings", "hyperlink",
    "sections", "number_include", "postscript", "numbered_list",
)  # fmt: skip


@pytest.mark.parametrize(
    "piece", ["*a ", "[a ", "a" * 10, '"', "1. ", "|", "- ", "\n", "http://a", "(a.", "**", "```\n"]
)
def test_no_pattern_tries_every_split(piece: str) -> None:
    """Forty thousand characters that tempt it: milliseconds would become minutes."""
    text = "x" + piece * (40_000 // len(piece))
    started = time.process_time()
    Catalogue.default().derive(text, kinds=PATTERNED)
    assert time.process_time() - started < 0.5


def test_marks_are_found_by_look_up_as_by_the_pattern() -> None:
    signs = "".join(map(chr, [*range(0x20, 0x3000), 0x1D165, 0xE0100, 0xE01EF, 0xE01F0, 0xFE00]))
    assert {sign for sign in signs if holds_combining(sign)} == set(combining().findall(signs))
    assert not holds_combining("caf\u00e9 \u201cx\u201d") and holds_combining("cafe\u0301")
