"""Proofs of propositional theorems as a world: what is trained on, in which order, and how it is judged."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice

from armillary.errors import UsageError
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.formulas import Formula, parsed
from armillary.methods.ordering.logic.generator import Theorem, theorems
from armillary.methods.ordering.logic.judging import verdict
from armillary.methods.ordering.logic.layouts import (
    ADDRESSED,
    END,
    PLAIN,
    VOCABULARY,
    ProofLine,
    arranged,
    half_sample,
    layout_of,
    line_sample,
    proof_lines,
    proof_text,
)
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.steps import Sample
from armillary.methods.ordering.worlds import Judgement, TaskProblem, Written

SWAPS = ("swap:0.1", "swap:0.25", "swap:0.5", "swap:1")
"""The doses of displacement, together with "seq@", which displaces nothing."""


@dataclass(frozen=True)
class LogicWorld:
    """Theorems of these sizes."""

    config: LogicConfig = field(default_factory=LogicConfig)

    @property
    def name(self) -> str:
        """As the command line calls it."""
        return "logic"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Symbols of formulas, rules, hypotheses, marks."""
        return VOCABULARY

    @property
    def orders(self) -> tuple[str, ...]:
        """See ``layouts``."""
        return (*PLAIN, *ADDRESSED[:-1], *SWAPS)

    @property
    def addressed(self) -> frozenset[str]:
        """Orders whose lines bear their address."""
        return frozenset((*ADDRESSED[:-1], *SWAPS))

    def problems(self, count: int, *, seed: int, exclude: Collection[str] = ()) -> list[TaskProblem]:
        """Theorems that differ in more than the names of their atoms; ``size`` is the number of steps of the proof."""
        return [self.problem(theorem) for theorem in islice(theorems(self.config, seed=seed, exclude=exclude), count)]

    def problem(self, theorem: Theorem) -> TaskProblem:
        """A theorem to prove."""
        return TaskProblem(theorem.key, (*theorem.formula.text, END), theorem.derivation.size)

    def formula(self, problem: TaskProblem) -> Formula:
        """What the prompt asks to prove."""
        return parsed(problem.prompt[:-1])

    def write(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Written:
        """The prover's proof in this order."""
        layout = layout_of(order)
        text = proof_text(arranged(self._lines(problem), layout, key=problem.key, seed=seed), layout)
        return Written(problem.prompt, text.tokens, text.parts)

    def judge(self, problem: TaskProblem, order: str, emitted: Sequence[str]) -> Judgement:
        """Any proof of the theorem is right; the error names the class and, where there is a tree, the depth."""
        judged = verdict(self.formula(problem), emitted, layout_of(order), full_state=self.config.full_state)
        error = judged.error if judged.depth is None else f"{judged.error} at depth {judged.depth}"
        return Judgement(judged.lenient, judged.strict, error)

    def sample(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Sample:
        """States and actions as steps, so that every order is measured on one graph: an action is found from its
        state, a state from the action above it."""
        layout = layout_of(order)
        return half_sample(arranged(self._lines(problem), layout, key=problem.key, seed=seed), layout, key=problem.key)

    def sample_of_lines(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Sample:
        """Lines as steps, each found from the one above it. UsageError for an order that takes lines apart."""
        layout = layout_of(order)
        if layout.halves != "state first":
            raise UsageError(f"The order {order} takes lines apart; ask for the graph of states and actions.")
        return line_sample(arranged(self._lines(problem), layout, key=problem.key, seed=seed), problem.key)

    def _lines(self, problem: TaskProblem) -> tuple[ProofLine, ...]:
        formula = self.formula(problem)
        derivation = prove(formula, shortest=self.config.shortest)
        if derivation is None:
            raise UsageError(f"{formula.text!r} has no proof; problems of this world are theorems.")
        return proof_lines(formula, derivation, full_state=self.config.full_state)
