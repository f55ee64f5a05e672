"""Texts out of pinned packages: what is chosen of them, fetched once, and where they can't be had."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.data.texts import interface, wordnet
from armillary.data.texts.capability import capability_cached
from armillary.data.texts.pieces import Document, hash_of
from armillary.errors import DownloadError, StorageError
from armillary.fetch import npm, pip
from unit.fetch.tiny_packages import publish_wheel, write_archive

TEXTS, PAIRED = "oven", "boiler"
"""Integrations: the first gives texts, the second pairs with German; by their hashes they come in this order."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))
    interface._integrations.cache_clear()
    yield
    interface._integrations.cache_clear()


def catalogue(name: str, language: str, strings: object) -> dict[str, str]:
    return {f"homeassistant/components/{name}/translations/{language}.json": json.dumps(strings)}


def tiny_wheel() -> dict[str, str]:
    """Two integrations: one that gives texts, one that gives pairs with German."""
    return {
        **catalogue(
            TEXTS,
            "en",
            {
                "title": "Too short",
                "config": {"step": "Choose the device\n to set up", "link": "See https://example.org for more help"},
                "state": {"on": "The device is {state} right now"},
            },
        ),
        **catalogue(TEXTS, "fr", {"config": {"step": "Choisissez l'appareil à configurer ici"}}),
        **catalogue(
            PAIRED,
            "en",
            {
                "again": "Choose the device to set up",  # the other integration says it already
                "new": "The lamp could not be found",
                "same": "A name that nobody translates",
            },
        ),
        **catalogue(
            PAIRED,
            "de",
            {
                "again": "Wählen Sie bitte das Gerät aus",
                "new": "Die Lampe wurde nicht gefunden",
                "same": "A name that nobody translates",
            },
        ),
        **catalogue(PAIRED, "es", {"new": "No se ha encontrado la lámpara"}),
        "homeassistant/components/alarm/manifest.json": "{}",
        f"homeassistant-{interface.WHEEL.version}.dist-info/licenses/LICENSE.md": "Apache License",
    }


def test_what_is_chosen_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish_wheel(interface, tiny_wheel(), monkeypatch)
    assert interface.cached_interface() is None and capability_cached("german") is False
    assert list(interface.sentences_in("en")) == [Document(TEXTS, ("Choose the device to set up",))]
    assert list(interface.sentences_in("fr")) == [Document(TEXTS, ("Choisissez l'appareil à configurer ici",))]
    assert list(interface.sentences_in("es")) == [Document(PAIRED, ("No se ha encontrado la lámpara",))]
    assert list(interface.sentences_in("de")) == []  # what is a pair with English is no text of German
    pair = "English: The lamp could not be found\nGerman: Die Lampe wurde nicht gefunden"
    assert list(interface.translations()) == [Document(PAIRED, (pair,))]
    folder = interface.cached_interface()
    assert folder is not None and (folder / "LICENSE.md").read_text() == "Apache License"
    assert capability_cached("german") is True and capability_cached("code") is None

    interface._integrations.cache_clear()
    assert len(list(interface.translations())) == 1 and len(calls) == 1  # from the cache, not fetched again


def test_a_language_takes_no_more_than_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "ENOUGH", 12)
    path = tmp_path / "many.whl"
    names = [f"part{n}" for n in range(60) if hash_of(f"part{n}") % 10 not in interface.PAIRS][:8]
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            for file, text in catalogue(name, "en", {"a": f"five words are in {name}"}).items():
                wheel.writestr(file, text)
    with zipfile.ZipFile(path) as wheel:
        chosen = list(interface.chosen(interface.catalogues(wheel)))
    assert [integration.name for integration in chosen] == sorted(names, key=hash_of)[:3]


@pytest.mark.parametrize("harm", ["digest", "no wheel", "no zip", "network"])
def test_an_interface_that_cannot_be_had(harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wheel(interface, tiny_wheel(), monkeypatch)
    good = pip.download

    def download(packages: object, folder: Path, on_bytes: object, **more: bool) -> None:
        if harm == "network":
            raise DownloadError("could not download homeassistant: the package index can't be reached.")
        good(packages, folder, on_bytes, **more)
        assert more == {"any_python": True}
        for path in (folder / "wheels").iterdir():
            if harm == "no wheel":
                path.unlink()
            else:
                path.write_bytes(b"no zip")

    monkeypatch.setattr(pip, "download", download)
    if harm == "no zip":
        digest = hashlib.sha256(b"no zip").hexdigest()
        monkeypatch.setattr(interface, "WHEEL", replace(interface.WHEEL, sha256=digest))
    expected = {"digest": "has sha256", "no wheel": "0 came", "no zip": "is damaged", "network": "can't be reached"}
    with pytest.raises(DownloadError, match=expected[harm]) as caught:
        list(interface.sentences_in("de"))
    assert "\n" not in str(caught.value) and interface.cached_interface() is None


def test_an_interface_that_was_changed_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wheel(interface, tiny_wheel(), monkeypatch)
    list(interface.translations())
    path = interface.cached_interface() / "texts.jsonl"
    path.write_text("{" + path.read_text()[1:].replace('"name"', '"neme"'))
    interface._integrations.cache_clear()
    with pytest.raises(StorageError, match=r"delete .* and fetch it again"):
        list(interface.translations())


NOUNS = """\
  1 This software and database is being provided to you
00001740 03 n 01 water_wheel 0 000 | a wheel that is turned by the water of a river; "the mill has a wheel"
00001930 03 n 01 lock 0 001 @ 00001740 n 0000 | what closes a door
00002137 03 n 02 ferry 0 boat 0 000 | a boat that carries people over a river; it goes to and fro
"""
ADJECTIVES = """\
00003131 00 a 01 afloat(p) 0 000 | borne on the water as a boat is and not sunk
00003356 00 a 01 said 0 000 | of what someone calls "spoken" and has not yet been written
"""


def publish_wordnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for npm, with a WordNet of five synsets; the packages that will have been asked for."""
    texts = {"noun": NOUNS, "verb": "", "adj": ADJECTIVES, "adv": ""}
    files = {f"package/dict/data.{part}": text.encode("latin-1") for part, text in texts.items()}
    write_archive(folder / "WNdb.tgz", {**files, "package/LICENSE": b"WordNet 3.0 Copyright"})
    calls: list[str] = []

    def download(package: npm.NpmPackage, scratch: Path) -> Path:
        calls.append(package.pinned)
        return folder / "WNdb.tgz"

    monkeypatch.setattr(npm, "download", download)
    return calls


def test_what_is_chosen_of_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish_wordnet(tmp_path, monkeypatch)
    assert wordnet.cached_definitions() is None and capability_cached("definitions") is False
    # Examples, quotations, short definitions and the mark of a position are left out.
    assert [document.units[0] for document in wordnet.definitions()] == [
        "afloat: borne on the water as a boat is and not sunk",
        "ferry: a boat that carries people over a river; it goes to and fro",
        "water wheel: a wheel that is turned by the water of a river",
    ]
    folder = wordnet.cached_definitions()
    assert folder is not None and (folder / "LICENSE").read_text() == "WordNet 3.0 Copyright"
    assert len(list(wordnet.definitions())) == 3 and calls == ["WNdb@3.0.0"]


def test_the_lowest_hashes_are_taken_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"word{n}", f"a definition of eight words is number {n}") for n in range(20)]
    lowest = sorted(("\t".join(pair) for pair in pairs), key=lambda line: hashlib.sha256(line.encode()).digest())[:3]
    monkeypatch.setattr(wordnet, "ENOUGH", 25)  # nine words a line with the word itself
    assert wordnet.chosen(pairs) == sorted(lowest)


def test_wordnet_that_was_changed_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wordnet(tmp_path, monkeypatch)
    list(wordnet.definitions())
    path = wordnet.cached_definitions() / "definitions.tsv"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(StorageError, match=r"delete .* and fetch it again"):
        list(wordnet.definitions())


@pytest.mark.weights
def test_the_real_texts_are_those_that_were_once_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARMILLARY_CACHE")
    list(interface.translations()), list(wordnet.definitions())
    texts = interface.cached_interface() / "texts.jsonl", wordnet.cached_definitions() / "definitions.tsv"
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in texts] == [
        "91c17eadc8e9c67ae59c8e0e424d562ac498504152a730060aabb2e1aed6d9a5",
        "3ee20bd1a79b371dbfa9cb579fcb6cd2032465dc82065ca122d4f550ec118f9e",
    ]
