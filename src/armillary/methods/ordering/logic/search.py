"""Proof search one step at a time: a model names the action, the checker writes the state that it leaves.

[derived] As PropL's models are run: the state is true by construction, so that what fails is the choice of a step, not
the bookkeeping. The text is that of the order "seq", so that a model trained on it goes on from where it stands.
"""

from collections.abc import Callable, Sequence

from armillary.methods.ordering.logic.derivations import RULES, Derivation
from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.judging import REFUSED
from armillary.methods.ordering.logic.layouts import END, TURN, state_tokens
from armillary.methods.ordering.logic.parsing import UNREADABLE, read_action
from armillary.methods.ordering.logic.rules import RuleRefused, Sequent, premises

TOO_LONG = "too many steps"
"""Class of error of a search that was stopped."""


class StepwiseProof:
    """A proof that is being written; many can be advanced side by side, one action of each at a time."""

    def __init__(self, formula: Formula, *, full_state: bool = False) -> None:
        self.formula, self.full_state = formula, full_state
        self.error = ""
        """Class of what ended the search, with the depth; "" while it goes on and after a proof."""

        self._open = [(Sequent({}, formula), 0)]  # what is left to prove, each with its depth, the next one last
        self._actions: list[tuple[str, tuple[int, ...]]] = []
        self._tokens: list[str] = [*state_tokens(self._open[-1][0], full=full_state), TURN]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The proof so far as a completion in "seq"; an action comes next unless ``ended``."""
        return tuple(self._tokens)

    @property
    def proved(self) -> bool:
        """Nothing is left to prove."""
        return not self._open

    @property
    def ended(self) -> bool:
        """Proved, or ended by an error."""
        return self.proved or bool(self.error)

    @property
    def steps(self) -> int:
        """Actions that were accepted."""
        return len(self._actions)

    def advance(self, action: Sequence[str]) -> bool:
        """Take the action, without the mark behind it, or end with an error; whether it applied."""
        if self.ended:
            return False
        sequent, depth = self._open[-1]
        step = read_action(action)
        if step is None:
            self.error = f"{UNREADABLE} at depth {depth}"
            return False
        try:
            below = premises(sequent, *step)
        except RuleRefused:
            self.error = f"{REFUSED} at depth {depth}"
            return False
        self._open.pop()
        self._open += [(premise, depth + 1) for premise in reversed(below)]
        self._actions.append(step)
        self._tokens += [*action, END]
        if self._open:
            self._tokens += [*state_tokens(self._open[-1][0], full=self.full_state), TURN]
        return True

    def stop(self) -> None:
        """End a search that has taken too long."""
        if not self.ended:
            self.error = TOO_LONG

    def derivation(self) -> Derivation | None:
        """The proof; None unless ``proved``."""
        if not self.proved:
            return None
        trees: list[Derivation] = []
        for rule, arguments in reversed(self._actions):
            trees.append(Derivation(rule, arguments, tuple(trees.pop() for _ in range(RULES[rule][1]))))
        return trees[0]


def searched(
    formula: Formula,
    propose: Callable[[tuple[str, ...]], Sequence[str]],
    *,
    most_steps: int,
    full_state: bool = False,
) -> StepwiseProof:
    """The search for a proof with a model that proposes each action from the prompt and the proof so far."""
    proof = StepwiseProof(formula, full_state=full_state)
    prompt = (*formula.text, END)
    while not proof.ended:
        if proof.steps == most_steps:
            proof.stop()
        else:
            proof.advance(propose((*prompt, *proof.tokens)))
    return proof
