"""Coq as the outside judge. Coq is a Debian package, not a Python one: where it is missing these are skipped."""

import random
import shutil
from itertools import islice

import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.logic import coq
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.counting import FormulaSpace
from armillary.methods.ordering.logic.derivations import RULES, Derivation
from armillary.methods.ordering.logic.formulas import parsed
from armillary.methods.ordering.logic.generator import theorems
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.logic.rules import RuleRefused
from armillary.methods.ordering.logic.terms import coq_term, coq_type

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="needs Coq: apt-get install coq")


@pytest.mark.coq
@needs_coq
def test_tauto_agrees_and_a_time_out_is_no_answer() -> None:
    space, draw = FormulaSpace("abcFT"), random.Random(7)
    formulas = [space.drawn(nodes, draw) for nodes in (2, 4, 6, 8) for _ in range(8)] + [parsed(">>>abaa")]
    assert coq.tauto_decides(formulas) == [prove(formula) is not None for formula in formulas]
    assert coq.coq_version()[0].isdigit()


@pytest.mark.coq
@needs_coq
def test_a_formula_too_large_for_its_time_is_unknown() -> None:
    """An equivalence nested six times: what ``tauto`` has to go through doubles each time."""
    hard = parsed("T")
    space, draw = FormulaSpace("abcde"), random.Random(1)
    for _ in range(6):
        side = space.drawn(12, draw)
        hard = parsed(f"&>{side}{hard}>{hard}{side}")
    assert coq.tauto_decides([hard, parsed(">aa")], seconds=1) == [None, True]


@pytest.mark.coq
@needs_coq
def test_the_kernel_accepts_proofs_over_every_rule_and_names_the_one_that_is_none() -> None:
    config = LogicConfig(atoms=3, truth=True, nodes=(3, 12), steps=(3, 25))
    made = list(islice(theorems(config, seed=1), 150))
    assert {rule for theorem in made for rule in theorem.derivation.skeleton} == set(RULES)
    assert coq.refused_by_kernel([(theorem.formula, theorem.derivation) for theorem in made]) == {}
    terms = [(theorem.formula, coq_term(theorem.formula, theorem.derivation)) for theorem in made[:3]]
    refused = coq.refused_terms([*terms, (parsed(">ab"), "(fun h0 : a => h0)"), *terms])
    assert list(refused) == [3] and 'has type "a"' in refused[3]


def test_without_coq_one_sentence_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for ask in (lambda: coq.tauto_decides([parsed("a")]), lambda: coq.refused_terms([(parsed("T"), "I")])):
        with pytest.raises(UsageError, match="coqc was not found: install the Debian package coq"):
            ask()


def test_terms_are_written_as_lambda_terms() -> None:
    assert coq_type(parsed(">&aF|bT")) == "((a /\\ False) -> (b \\/ True))"
    proof = prove(parsed(">&aba"))
    assert proof is not None
    assert coq_term(parsed(">&aba"), proof) == (
        "(fun h0 : (a /\\ b) => (match h0 return a with conj h1 h2 => h1 end))"
    )
    with pytest.raises(RuleRefused, match="no hypothesis h1"):
        coq_term(parsed(">aa"), Derivation("impR", (), (Derivation("ax", (1,), ()),)))
