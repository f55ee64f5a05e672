"""Proofs as tokens in every order. A line is one step: the state to prove and the action taken on it.

::

    STATE ; ACTION #      h7 : > a b |- b ; mp h7 h2 #

A state shows the hypotheses that the step before has added, then the goal; the first one is the theorem. [derived] All
orders of one framing are the same tokens: "seq" and its like write the lines bare, and the tree is read from their
order; in the addressed ones, whose lines may stand anywhere, each begins with ``.`` and the numbers (0 or 1) of the
premises on the way from the root.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from armillary.errors import UsageError
from armillary.methods.ordering.logic.derivations import RULES, Address, Derivation
from armillary.methods.ordering.logic.formulas import SYMBOLS, Formula
from armillary.methods.ordering.logic.rules import Sequent, below
from armillary.methods.ordering.orders import permutation
from armillary.methods.ordering.steps import Sample, Step

HYPOTHESES = tuple(f"h{number}" for number in range(64))
"""More than a proof of 31 steps can reach."""

TURN, END, GOAL, NAMED, ROOT = ";", "#", "|-", ":", "."
"""Between the halves of a line, at its end, before a goal, behind a hypothesis' number, at the start of an address."""

VOCABULARY = (*SYMBOLS, *RULES, *HYPOTHESES, TURN, END, GOAL, NAMED, ROOT, "0", "1")

PLAIN = ("seq", "action_first", "actions_then_states", "logical", "reversed", "actions_only")
"""Orders whose tree is read from the order of the lines. "actions_only" leaves the states out: it is a control, of
fewer tokens than the others."""

ADDRESSED = ("seq@", "action_first@", "logical@", "reversed@", "bfs", "random", "swap:P")
"""Orders whose lines bear their address; P is the probability with which a line is displaced."""

Halves = Literal["state first", "action first", "actions, then states", "actions only"]


@dataclass(frozen=True)
class ProofLayout:
    """What an order does to the lines of a proof, which are in preorder, and to the halves of each."""

    lines: str
    """An order of ``orders.permutation``."""

    halves: Halves = "state first"

    addressed: bool = False


def layout_of(order: str) -> ProofLayout:
    """The layout of this name. UsageError where there is none."""
    name = order.removesuffix("@")
    addressed = order.endswith("@") or name in ("bfs", "random") or name.startswith("swap:")
    if order in PLAIN or order in ADDRESSED[:-1] or name.startswith("swap:"):
        halves: dict[str, Halves] = {
            "action_first": "action first",
            "actions_then_states": "actions, then states",
            "actions_only": "actions only",
        }
        if name in halves:
            return ProofLayout("seq", halves[name], addressed)
        return ProofLayout(name, "state first", addressed)
    raise UsageError(f"There is no order {order!r} of a proof; accepted are {', '.join((*PLAIN, *ADDRESSED))}.")


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One step of a proof."""

    address: Address
    state: tuple[str, ...]
    action: tuple[str, ...]


def state_tokens(sequent: Sequent, *, full: bool = False) -> tuple[str, ...]:
    """The hypotheses that are new, or all with ``full``, and the goal."""
    shown = len(sequent.hypotheses) if full else sequent.new
    tokens: list[str] = []
    if shown:
        for number, formula in list(sequent.hypotheses.items())[-shown:]:
            tokens += (HYPOTHESES[number], NAMED, *formula.text)
    return (*tokens, GOAL, *sequent.goal.text)


def proof_lines(formula: Formula, derivation: Derivation, *, full_state: bool = False) -> tuple[ProofLine, ...]:
    """The lines of a proof in preorder. RuleRefused where it is not one."""
    lines: list[ProofLine] = []
    waiting: list[tuple[Address, Sequent, Derivation]] = [((), Sequent({}, formula), derivation)]
    while waiting:
        address, sequent, node = waiting.pop()
        action = (node.rule, *(HYPOTHESES[number] for number in node.arguments))
        lines.append(ProofLine(address, state_tokens(sequent, full=full_state), action))
        children = list(zip(below(sequent, node), node.children, strict=True))
        waiting += [((*address, which), *children[which]) for which in range(len(children) - 1, -1, -1)]
    return tuple(lines)


def line_sample(lines: Sequence[ProofLine], key: str) -> Sample:
    """A step a line: found from the line above it in the tree, justified by those below it."""
    lower: dict[Address, list[str]] = {line.address: [] for line in lines}
    for line in lines:
        if line.address:
            lower[line.address[:-1]].append(_name(line.address))
    steps = [
        Step(
            id=_name(line.address),
            text=" ".join((*line.state, TURN, *line.action)),
            kind=line.action[0],
            deps=(_name(line.address[:-1]),) if line.address else (),
            premises=tuple(lower[line.address]),
        )
        for line in lines
    ]
    return Sample(prompt=" ".join(lines[0].state), steps=tuple(steps), key=key)


def arranged(lines: Sequence[ProofLine], layout: ProofLayout, *, key: str, seed: int = 0) -> list[ProofLine]:
    """The lines in the order of the layout; a random one depends on the key and the seed alone."""
    if layout.lines == "seq":
        return list(lines)
    return [lines[at] for at in permutation(line_sample(lines, key), layout.lines, seed=seed)]


def half_sample(lines: Sequence[ProofLine], layout: ProofLayout, *, key: str) -> Sample:
    """States and actions as steps of their own, the lines as they are: an action is found from its state, a state from
    the action above it. A state is justified by the states below it, and so is its action.
    """
    lower: dict[Address, list[str]] = {line.address: [] for line in lines}
    for line in lines:
        if line.address:
            lower[line.address[:-1]].append(f"{_name(line.address)} state")
    states, actions = [], []
    for line in lines:
        name, justified = _name(line.address), () if layout.halves == "actions only" else tuple(lower[line.address])
        above = (f"{_name(line.address[:-1])} action",) if line.address else ()
        states.append(Step(f"{name} state", " ".join(line.state), "state", above, justified))
        support = above if layout.halves == "actions only" else (f"{name} state",)
        actions.append(Step(f"{name} action", " ".join(line.action), "action", support, justified))
    if layout.halves == "actions only":
        steps = actions
    elif layout.halves == "actions, then states":
        steps = [*actions, *states]
    else:
        pairs = (
            zip(states, actions, strict=True) if layout.halves == "state first" else zip(actions, states, strict=True)
        )
        steps = [half for pair in pairs for half in pair]
    return Sample(prompt=" ".join(lines[0].state), steps=tuple(steps), key=key)


def _name(address: Address) -> str:
    return ROOT + ".".join(map(str, address))


@dataclass(frozen=True)
class ProofText:
    """Tokens of a proof."""

    tokens: tuple[str, ...]
    parts: tuple[str, ...]
    """For each token "state", "action", or "mark" for what stands between and for addresses."""


def proof_text(lines: Sequence[ProofLine], layout: ProofLayout) -> ProofText:
    """The lines, already in their order, as tokens."""
    tokens: list[str] = []
    parts: list[str] = []

    def add(half: Sequence[str], part: str, mark: str) -> None:
        tokens.extend((*half, mark))
        parts.extend((*(part for _ in half), "mark"))

    if layout.halves == "actions, then states":
        for line in lines:
            add(line.action, "action", TURN)
        for line in lines:
            add(line.state, "state", END)
    else:
        for line in lines:
            if layout.addressed:
                address = (ROOT, *map(str, line.address))
                tokens.extend(address)
                parts.extend("mark" for _ in address)
            if layout.halves == "actions only":
                add(line.action, "action", END)
            elif layout.halves == "action first":
                add(line.action, "action", TURN)
                add(line.state, "state", END)
            else:
                add(line.state, "state", TURN)
                add(line.action, "action", END)
    return ProofText(tuple(tokens), tuple(parts))
