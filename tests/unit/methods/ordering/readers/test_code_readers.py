"""Readers of Python modules and of Coq: scopes, modules, comments, bullets."""

import ast

import pytest

from armillary.methods.ordering.readers.coq.declarations import declarations
from armillary.methods.ordering.readers.coq.proofs import CoqProofReader
from armillary.methods.ordering.readers.coq.text import bare, declared, introduced, named, sentences
from armillary.methods.ordering.readers.registry import reader
from armillary.methods.ordering.readers.scopes import Used, bound_names, names_used


def used(text: str) -> set[tuple[str, bool]]:
    return {(name.name, name.later) for name in names_used(ast.parse(text).body[0])}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f(x, y=d):\n    z = g(x)\n    return z", {("d", False), ("g", True)}),
        ("def f():\n    def h():\n        return x\n    x = k\n    return h", {("k", True)}),
        ("class A(B):\n    c = d\n    def m(self, e=c):\n        return c", {("B", False), ("d", False), ("c", True)}),
        ("x = [a for a in b if c]", {("b", False), ("c", False)}),
        ("f = lambda a: a + g", {("g", True)}),
        ("def f():\n    global x\n    x = 1\n    return x", {("x", True)}),
        ("@dec\ndef f(a: int) -> str: ...", {("dec", False), ("int", False), ("str", False)}),
        ("def f():\n    y: T = 1\n    return y", set[tuple[str, bool]]()),  # never evaluated in a function
        ("def f(v):\n    match v:\n        case {'a': p, **rest}:\n            return p, rest, q", {("q", True)}),
        ("x += 1", {("x", False)}),
        ("def f():\n    if (n := g()):\n        return n", {("g", True)}),
    ],
)
def test_names_of_the_module_by_time(text: str, names: set[tuple[str, bool]]) -> None:
    assert used(text) == names


def test_names_that_imports_bind_are_told_apart() -> None:
    text = "try:\n    import fast as f\nexcept ImportError as error:\n    f = None\n    def g(): ..."
    assert bound_names(ast.parse(text).body[0]) == (("error", "f", "g"), ("f",))


def test_annotations_are_names_unless_they_are_put_off() -> None:
    statement = ast.parse("def f(a: T): ...").body[0]
    assert names_used(statement) == [Used("T", later=False)] and names_used(statement, annotations=False) == []


def test_a_module_is_read_in_both_graphs() -> None:
    text = """from x import y
class B: ...
@deco
class A(B):
    def m(self):
        return late(y)
def late(v):
    return v
"""
    sample = reader("python-code")(text)
    assert sample is not None
    assert [(step.id, step.kind) for step in sample.steps] == [
        ("1:y", "import"), ("2:B", "class"), ("3:A", "class"), ("7:late", "function"),
    ]  # fmt: skip
    assert sample.steps[2].text.startswith("@deco\nclass A")
    assert {*sample.edges()} == {(1, 2), (3, 2)} and {*sample.edges("logical")} == {(1, 2)}


def test_of_several_definitions_the_nearest_to_the_left_counts() -> None:
    text = "x = 1\nx = 2\ndef f():\n    return x\nx = 3\n"
    sample = reader("python-code")(text)
    assert sample is not None and {*sample.edges()} == {(1, 2)}


def test_lines_are_pythons() -> None:
    sample = reader("python-code")("import os\r\n\x0c\r\ndef f():\r\n    return '\u2028'\r\n\x0c\rx = 1\n")
    assert sample is not None and [step.text for step in sample.steps] == [
        "import os", "def f():\n    return '\u2028'", "x = 1",
    ]  # fmt: skip


def test_no_module() -> None:
    python = reader("python-code")
    assert python("def f(:") is None and python("hello") is None and python("x\0") is None


def test_coq_sentences() -> None:
    text = 'Lemma l : "a. b" = x. (* no. (* nested. *) *) Proof. - simpl. { auto. } Qed.'
    assert len(bare(text)) == len(text)
    assert [sentence.bare for sentence in sentences(text)] == [
        "Lemma l :        = x.", "Proof.", "-", "simpl.", "{", "auto.", "}", "Qed.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "names"),
    [
        ("Inductive t : Set := | A (n : nat) | B.", ("t", "A", "B")),
        ("Record r := mk { first : nat; second : bool }.", ("r", "mk", "first", "second")),
        ("Fixpoint f n := g n with g m := f m.", ("f", "g")),
        ("Variables (x y : nat) (z : bool).", ("x", "y", "z")),
        ("Hypothesis H : x = y.", ("H",)),
        ("#[local] Program Definition d := 1.", ("d",)),
    ],
)
def test_coq_declares(sentence: str, names: tuple[str, ...]) -> None:
    word = declared(sentence)
    assert word is not None and word[1] == names


def test_coq_binds_and_needs() -> None:
    assert set(introduced("destruct H as [x [Hx _]] eqn:E.")) == {"x", "Hx", "E"}
    assert "H" in named("destruct H as [x [Hx _]] eqn:E.") and "x" not in named("destruct H as [x [Hx _]] eqn:E.")
    assert {"H", "f"} <= named("apply (fun y => f y) in H.") and "y" not in named("apply (fun y => f y) in H.")
    assert "H" in named("destruct H as [H|H].")


def test_coq_modules_hide_their_names() -> None:
    text = """Module M. Definition size := 1. End M.
Definition size := 2.
Definition a := size.
Definition b := M.size.
Definition c := (fun size : nat => size)."""
    sample = reader("coq")(text)
    assert sample is not None and {*sample.edges()} == {(1, 2), (0, 3)}


def test_coq_bullets_close_their_hypotheses() -> None:
    text = """Lemma l (A B : Prop) : A \\/ B -> B \\/ A.
Proof.
intros Hor. destruct Hor as [Left|Right].
- right. exact Left.
- left. exact Right.
Qed."""
    sample = CoqProofReader()(text)
    assert sample is not None and sample.key == "l"
    texts = [step.text for step in sample.steps]
    assert {(texts[u], texts[v]) for u, v in sample.edges()} == {
        ("intros Hor.", "destruct Hor as [Left|Right]."),
        ("destruct Hor as [Left|Right].", "exact Left."),
        ("destruct Hor as [Left|Right].", "exact Right."),
    }


def test_a_coq_file_is_cut_in_its_proofs() -> None:
    text = (
        "Definition d := 1.\nLemma a : d = 1.\nProof. reflexivity. Qed.\n\nLemma b : d = 1. auto. Qed.\n(* end. *)\n"
    )
    units = [*CoqProofReader().units(text)]
    assert "".join(units) == text and [unit.strip()[:9] for unit in units] == ["Definitio", "Lemma b :", "(* end. *"]
    read = [CoqProofReader()(unit) for unit in units]
    assert [sample and sample.key for sample in read] == ["a", "b", None]
    assert [part.names for part in declarations(text)] == [("d",), ("a",), ("b",)]
