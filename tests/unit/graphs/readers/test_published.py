"""WordNet and Wikidata5M in the forms in which they are published, on slices made in the same form."""

from pathlib import Path

import pytest

from armillary.data.texts import wordnet as packaged
from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, read_triples
from armillary.graphs.readers.wikidata import wikidata5m_names, wikidata5m_triples
from armillary.graphs.readers.wordnet import wordnet_names, wordnet_triples

LICENCE = "  1 This stands in the place of the licence.  \n"
TABLES = {
    "data.noun": (
        "00000100 03 n 01 entity 0 001 ~ 00000200 n 0000 | what there is  \n"
        "00000200 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 004 @ 00000100 n 0000 #m 00000300 n 0000 "
        '+ 00000500 v 0101 ! 00000300 n 0102 | it barks; "the | dog"  \n'
        "00000300 14 n 01 Pack 1 003 %m 00000200 n 0000 = 00000400 a 0000 ! 00000200 n 0201 | many of them  \n"
    ),
    "index.noun": (
        "canis_familiaris n 1 1 @ 1 0 00000200  \ndog n 2 2 @ ~ 2 1 00000900 00000200  \n"
        "domestic_dog n 1 1 @ 1 0 00000200  \nentity n 1 1 ~ 1 1 00000100  \npack n 1 1 %m 1 0 00000300  \n"
    ),
    "data.verb": "00000500 38 v 01 dog 0 002 + 00000200 n 0101 $ 00000500 v 0000 01 + 08 00 | go after  \n",
    "index.verb": "dog v 1 1 + 1 1 00000500  \n",
    "data.adj": "00000400 00 s 01 gregarious(p) 0 000 | in company  \n",
    "index.adj": "gregarious a 1 0 1 0 00000400  \n",
    "data.adv": "00000600 02 r 01 doggedly 0 001 \\ 00000400 a 0101 | so  \n",
    "index.adv": "doggedly r 1 1 \\ 1 0 00000600  \n",
}


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / name).write_text(LICENCE + text, "utf-8")
    return tmp_path


def test_wordnet(wordnet: Path) -> None:
    nouns = [
        ("entity.n.01", "hyponym", "dog.n.02"),
        ("dog.n.02", "hypernym", "entity.n.01"),
        ("dog.n.02", "member holonym", "pack.n.01"),
        ("dog.n.02", "antonym", "pack.n.01"),
        ("pack.n.01", "member meronym", "dog.n.02"),
        ("pack.n.01", "antonym", "dog.n.02"),
    ]
    assert list(wordnet_triples(wordnet, ["noun"])) == nouns
    assert sorted(wordnet_triples(wordnet)) == sorted(
        [
            *nouns,
            ("dog.n.02", "derivationally related form", "dog.v.01"),
            ("pack.n.01", "attribute", "gregarious.s.01"),
            ("dog.v.01", "derivationally related form", "dog.n.02"),
            ("dog.v.01", "verb group", "dog.v.01"),
            ("doggedly.r.01", "pertainym", "gregarious.s.01"),
        ]
    )
    names = list(wordnet_names(wordnet, ["noun", "adj"]))
    assert ("dog.n.02", "domestic dog") in names and ("dog.n.02", "Canis familiaris") in names
    assert ("gregarious.s.01", "gregarious") in names and len(names) == 6


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("data.noun", "00000100 03 n 01 entity\n", "line 2 of .*data.noun is no synset"),
        ("data.noun", "00000100 03 n 01 entity 0 001 ? 00000200 n 0000 | x\n", "line 2 of .*data.noun is no synset"),
        ("data.noun", "00000100 03 n 01 unheard 0 000 | x\n", "line 2 of .*data.noun is no synset"),
        ("index.noun", "dog n\n", "line 2 of .*index.noun is no word with its senses"),
    ],
)
def test_a_wrong_line_of_wordnet_is_named(wordnet: Path, name: str, text: str, words: str) -> None:
    (wordnet / name).write_text(LICENCE + text, "utf-8")
    with pytest.raises(UsageError, match=words):
        list(wordnet_triples(wordnet))


def test_what_wordnet_lacks_is_told(wordnet: Path) -> None:
    with pytest.raises(UsageError, match="no part 'nouns'; its parts are noun, verb, adj, adv"):
        list(wordnet_triples(wordnet, ["nouns"]))  # type: ignore[list-item]
    (wordnet / "index.adv").unlink()
    with pytest.raises(UsageError, match=r"holds no WordNet: index.adv is missing"):
        list(wordnet_triples(wordnet))


@pytest.mark.weights
def test_the_whole_of_wordnet() -> None:
    """What ``wordnet.database`` fetches: 377,592 pointers, 231,535 of them between nouns."""
    folder = packaged.database()
    assert sum(1 for _ in wordnet_triples(folder, ["noun"])) == 231_535
    graph = KnowledgeGraph.of(wordnet_triples(folder))
    assert len(graph) + graph.duplicates == 377_592 and len(set(wordnet_names(folder))) == 206_978
    assert graph.has("dog.n.01", "hypernym", "canine.n.02")


def test_wikidata5m(tmp_path: Path) -> None:
    facts, names = tmp_path / "wikidata5m_transductive_train.txt", tmp_path / "wikidata5m_entity.txt"
    facts.write_text("Q22686\tP39\tQ11696\nQ22686\tP31\tQ5\n", "utf-8")
    names.write_text("Q22686\tdonnie trump\tDonald John Trump\t\nQ5\thuman\tHumanit\u00e9\nQ11696\n", "utf-8")
    assert list(wikidata5m_triples(facts)) == list(read_triples(facts))
    assert list(wikidata5m_triples(facts)) == [("Q22686", "P39", "Q11696"), ("Q22686", "P31", "Q5")]
    assert list(wikidata5m_names(names)) == [
        ("Q22686", "donnie trump"), ("Q22686", "Donald John Trump"), ("Q5", "human"), ("Q5", "Humanit\u00e9"),
    ]  # fmt: skip
    assert len(KnowledgeGraph.of(wikidata5m_triples(facts)).entities) == 3


@pytest.mark.parametrize(
    "line", ["Q1\tP2", "Q1\tQ2\tQ3", "Q1 P2 Q3", "Q1\tP2\tQ3\tQ4", "q1\tP2\tQ3", "Q\u0661\tP2\tQ3"]
)
def test_a_wrong_line_of_wikidata5m_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"Q1\tP2\tQ3\n{line}\n", "utf-8")
    with pytest.raises(UsageError, match=r"line 2 of .*a.txt is"):
        list(wikidata5m_triples(path))
    path.write_text("Q1\tname\nname\tQ1\n", "utf-8")
    with pytest.raises(UsageError, match=r"line 2 of .* begins with 'name'"):
        list(wikidata5m_names(path))
