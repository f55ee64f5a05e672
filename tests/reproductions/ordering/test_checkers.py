"""The experiment that holds the judges of proofs against Coq: what its numbers are made of, and that it can fail."""

import shutil
from dataclasses import replace
from itertools import islice

import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.generator import theorems
from armillary.records.claims import judge
from reproductions.ordering.checkers import checks
from reproductions.ordering.checkers.changes import with_another_action
from reproductions.ordering.checkers.claims import CHECKER_CLAIMS

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="needs Coq: apt-get install coq")

SIZES = [
    checks.DecidedFormulas(nodes=1, formulas=27, provable=5, tautologies=5, unknown=0, disagreements=[], permuted=12)
]
TERMS = checks.ExtractedTerms(
    terms=9, refused=[], rules=dict.fromkeys(checks.RULES, 1), elsewhere=2, elsewhere_refused=2
)
PROOFS = checks.ChangedProofs(written=18, refused=0, changed=36, accepted=1, refused_by_kernel=0)


def outcomes(
    sizes: list[checks.DecidedFormulas], terms: checks.ExtractedTerms, proofs: checks.ChangedProofs
) -> list[str]:
    return [claim.outcome for claim in judge(CHECKER_CLAIMS, checks.checker_measures(sizes, terms, proofs))]


def test_one_error_of_any_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "coq_version", lambda: "8.16.1")
    failed = "undecided: control failed"
    assert outcomes(SIZES, TERMS, PROOFS) == ["holds"] * 3
    assert outcomes([replace(SIZES[0], disagreements=[">aa"])], TERMS, PROOFS)[0] == "fails"
    assert outcomes([replace(SIZES[0], unknown=1)], TERMS, PROOFS)[0] == failed
    assert outcomes(SIZES, replace(TERMS, refused=["no"]), PROOFS)[1] == "fails"
    assert outcomes(SIZES, replace(TERMS, rules={"ax": 9}), PROOFS)[1] == failed
    assert outcomes(SIZES, TERMS, replace(PROOFS, refused_by_kernel=1))[2] == "fails"
    assert outcomes(SIZES, TERMS, replace(PROOFS, refused=1))[2] == failed
    assert outcomes(SIZES, TERMS, replace(PROOFS, accepted=0))[2] == failed


def test_what_tauto_says_otherwise_is_a_disagreement_and_a_time_out_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(formulas: list[Formula]) -> list[bool | None]:
        return [None if text == "a" else text == "b" for text in map(str, formulas)]

    monkeypatch.setattr(checks, "tauto_decides", answers)
    found = checks.decided(0, seed=0)
    assert (found.formulas, found.provable, found.unknown, found.disagreements) == (3, 0, 1, ["b"])


def test_a_changed_proof_has_one_other_action() -> None:
    draw = checks.Random(0)
    for theorem in islice(theorems(checks.CONFIG, seed=3), 20):
        nodes = dict(theorem.derivation.walk())
        address = draw.choice(list(nodes))
        other = dict(with_another_action(theorem.derivation, address, draw).walk())
        differ = [at for at in nodes if (nodes[at].rule, nodes[at].arguments) != (other[at].rule, other[at].arguments)]
        assert nodes.keys() == other.keys() and differ == [address]


def test_without_coq_the_experiment_is_refused_before_a_model_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="Debian package coq"):
        checks.require_coq(checks.ReproduceSettings(method="ordering_logic", model="tiny-llama"))


@pytest.mark.coq
@needs_coq
def test_coq_is_asked() -> None:
    found = checks.decided(1, seed=0)
    assert (found.formulas, found.disagreements, found.unknown) == (27, [], 0)
    drawn = list(islice(theorems(checks.CONFIG, seed=1), 4))
    terms = checks.extracted(drawn[:2])
    assert (terms.refused, terms.elsewhere, terms.elsewhere_refused) == ([], 1, 1)
