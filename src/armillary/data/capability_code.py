"""What source files of Python hold: windows of 25 lines of code, and the prose of their documentation."""

import ast
import platform
import re
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from armillary.data.capability_pieces import Document, hash_of, sentences
from armillary.data.sources import Source, _missing

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


def standard_library_source() -> Source:
    """This Python: the modules, and so the windows, depend on its version."""
    return Source(
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
