"""N-Triples: the forms of its terms, blank nodes by their labels, wrong lines by their numbers."""

from pathlib import Path

import pytest

from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, read_triples

pytest.importorskip("rdflib")

LINES = r"""# a comment
<http://x.org/Paris> <http://x.org/capitalOf> <http://x.org/France> .
<http://x.org/Paris> <http://x.org/label> "Paris"@fr .

_:b1 <http://x.org/people> "67"^^<http://www.w3.org/2001/XMLSchema#integer> . # and another
_:b1 <http://x.org/note> "two\nlines, \"quoted\", \u00e9" .
_:b2 <http://x.org/of> _:b1 .
"""


def test_statements(tmp_path: Path) -> None:
    path = tmp_path / "a.nt"
    path.write_text(LINES, "utf-8")
    x = "http://x.org/"
    expected = [
        (f"{x}Paris", f"{x}capitalOf", f"{x}France"),
        (f"{x}Paris", f"{x}label", "Paris"),
        ("_:b1", f"{x}people", "67"),
        ("_:b1", f"{x}note", 'two\nlines, "quoted", \u00e9'),
        ("_:b2", f"{x}of", "_:b1"),
    ]
    statements = list(read_triples(path))
    assert statements == expected and {type(part) for statement in statements for part in statement} == {str}
    assert KnowledgeGraph.of(read_triples(path)).has("_:b2", f"{x}of", "_:b1")


@pytest.mark.parametrize(
    "bad", ["<http://x.org/a> <http://x.org/b>", "a b c .", '"text" <http://x.org/b> <http://x.org/c> .']
)
def test_a_wrong_line_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.nt"
    path.write_text(LINES + bad + "\n", "utf-8")
    with pytest.raises(UsageError, match=r"line 8 of .* is no statement of N-Triples"):
        list(read_triples(path))


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nt"
    path.write_text('<http://x.org/a> <http://x.org/b> "" .\n', "utf-8")
    with pytest.raises(UsageError, match=r"line 1 of .* has an empty text"):
        list(read_triples(path))
