"""Whether tokens that a model wrote are a proof, and what is first wrong with them if not."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.layouts import ProofLayout, proof_lines
from armillary.methods.ordering.logic.parsing import read_proof
from armillary.methods.ordering.logic.rules import check

REFUSED, WRONG_STATE = "rule not applicable", "wrong state"
"""Classes of error beside those of reading a text."""


@dataclass(frozen=True)
class ProofVerdict:
    """What the checker says of one text."""

    lenient: bool
    """The tree of actions is a proof of the formula, whatever states stand beside it."""

    strict: bool
    """Besides, every state is the one that the rules leave there."""

    error: str = ""
    """Class of what is wrong: unreadable, tree incomplete, rule not applicable, wrong state; "" if ``strict``."""

    depth: int | None = None
    """How far below the root the first such node stands, parents before children; None where the text is no tree."""


def verdict(formula: Formula, tokens: Sequence[str], layout: ProofLayout, *, full_state: bool = False) -> ProofVerdict:
    """The tokens judged as a proof of this formula. Several proofs of one theorem are as good as each other."""
    proof = read_proof(tokens, layout)
    if proof.derivation is None:
        return ProofVerdict(False, False, proof.error)
    result = check(formula, proof.derivation)
    if not result.ok:
        return ProofVerdict(False, False, REFUSED, len(result.where or ()))
    if proof.states:
        lines = proof_lines(formula, proof.derivation, full_state=full_state)
        for line, state in zip(lines, proof.states, strict=True):
            if line.state != state:
                return ProofVerdict(True, False, WRONG_STATE, len(line.address))
    return ProofVerdict(True, True)
