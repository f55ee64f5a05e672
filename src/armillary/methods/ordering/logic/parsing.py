"""A proof read back from its tokens: the tree of actions, and the states that were written beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.methods.ordering.logic.derivations import RULES, Address, Derivation
from armillary.methods.ordering.logic.layouts import END, HYPOTHESES, ROOT, TURN, ProofLayout

_NUMBERS = {token: number for number, token in enumerate(HYPOTHESES)}

UNREADABLE, INCOMPLETE = "unreadable", "tree incomplete"
"""What is wrong with a text that is no tree: it is not of the layout's form, or premises lack a proof."""


@dataclass(frozen=True)
class ReadProof:
    """What a text says."""

    derivation: Derivation | None = None
    """The tree of actions; None where ``error`` says what is wrong."""

    states: tuple[tuple[str, ...], ...] = ()
    """Tokens of each state, the nodes in preorder; empty where the layout has no states."""

    error: str = ""
    """UNREADABLE, INCOMPLETE, or ""."""


class _Malformed(Exception):
    """Carries UNREADABLE or INCOMPLETE."""


@dataclass(frozen=True, slots=True)
class _Node:
    """One line as it was read."""

    rule: str
    arguments: tuple[int, ...]
    state: tuple[str, ...]
    address: Address = ()


def read_action(tokens: Sequence[str]) -> tuple[str, tuple[int, ...]] | None:
    """The rule and the hypotheses that it names; None where the tokens are not an action."""
    if not tokens or tokens[0] not in RULES or len(tokens) != 1 + RULES[tokens[0]][0]:
        return None
    if not all(token in _NUMBERS for token in tokens[1:]):
        return None
    return tokens[0], tuple(_NUMBERS[token] for token in tokens[1:])


def read_proof(tokens: Sequence[str], layout: ProofLayout) -> ReadProof:
    """The tree that the tokens write in this layout. Never raises: what cannot be read is an ``error``."""
    try:
        nodes = _separate_nodes(tokens) if layout.halves == "actions, then states" else _nodes(tokens, layout)
        if layout.addressed:
            derivation, states = _by_address(nodes)
        elif layout.lines == "logical":
            derivation, states = _by_postorder(nodes)
        else:
            derivation, states = _by_preorder(nodes[::-1] if layout.lines == "reversed" else nodes)
    except _Malformed as malformed:
        return ReadProof(error=str(malformed))
    return ReadProof(derivation, () if layout.halves == "actions only" else tuple(states))


def _chunks(tokens: Sequence[str], mark: str) -> list[list[str]]:
    """What stands before each mark; nothing may stand behind the last."""
    chunks: list[list[str]] = [[]]
    for token in tokens:
        if token == mark:
            chunks.append([])
        else:
            chunks[-1].append(token)
    if chunks.pop() or not chunks:
        raise _Malformed(UNREADABLE)
    return chunks


def _node(action: Sequence[str], state: Sequence[str], address: Address = ()) -> _Node:
    step = read_action(action)
    if step is None:
        raise _Malformed(UNREADABLE)
    return _Node(*step, tuple(state), address)


def _nodes(tokens: Sequence[str], layout: ProofLayout) -> list[_Node]:
    """One node a line."""
    nodes = []
    for line in _chunks(tokens, END):
        address: Address = ()
        if layout.addressed:
            if not line or line[0] != ROOT:
                raise _Malformed(UNREADABLE)
            end = next((at for at, token in enumerate(line) if at and token not in ("0", "1")), len(line))
            address, line = tuple(map(int, line[1:end])), line[end:]
        if layout.halves == "actions only":
            nodes.append(_node(line, ()))
            continue
        if line.count(TURN) != 1:
            raise _Malformed(UNREADABLE)
        turn = line.index(TURN)
        first, second = line[:turn], line[turn + 1 :]
        action, state = (first, second) if layout.halves == "action first" else (second, first)
        nodes.append(_node(action, state, address))
    return nodes


def _separate_nodes(tokens: Sequence[str]) -> list[_Node]:
    """All actions, then all states; a state too few or too many is left empty or out, and so will count as wrong."""
    turns = [at for at, token in enumerate(tokens) if token == TURN]
    if not turns:
        raise _Malformed(UNREADABLE)
    actions, behind = _chunks(tokens[: turns[-1] + 1], TURN), tokens[turns[-1] + 1 :]
    states = _chunks(behind, END) if behind else []
    states += [[]] * (len(actions) - len(states))
    return [_node(action, state) for action, state in zip(actions, states, strict=False)]


_Tree = tuple[Derivation, list[tuple[str, ...]]]
"""A proof and its states in preorder."""


def _joined(node: _Node, children: Sequence[_Tree]) -> _Tree:
    states = [node.state, *(state for _, below in children for state in below)]
    return Derivation(node.rule, node.arguments, tuple(child for child, _ in children)), states


def _by_preorder(nodes: Sequence[_Node]) -> _Tree:
    """From the last line to the first, each takes as many trees as its rule leaves premises, the nearest first."""
    trees: list[_Tree] = []
    for node in reversed(nodes):
        needed = RULES[node.rule][1]
        if len(trees) < needed:
            raise _Malformed(INCOMPLETE)
        trees.append(_joined(node, [trees.pop() for _ in range(needed)]))
    return _only(trees)


def _by_postorder(nodes: Sequence[_Node]) -> _Tree:
    """From the first line to the last, each takes the trees before it."""
    trees: list[_Tree] = []
    for node in nodes:
        needed = RULES[node.rule][1]
        if len(trees) < needed:
            raise _Malformed(INCOMPLETE)
        trees.append(_joined(node, [trees.pop() for _ in range(needed)][::-1]))
    return _only(trees)


def _only(trees: Sequence[_Tree]) -> _Tree:
    if len(trees) != 1:
        raise _Malformed(UNREADABLE)
    return trees[0]


def _by_address(nodes: Sequence[_Node]) -> _Tree:
    """Each line where its address says; none twice, none outside the tree."""
    trees: dict[Address, _Tree] = {}
    for node in sorted(nodes, key=lambda node: -len(node.address)):
        if node.address in trees:
            raise _Malformed(UNREADABLE)
        below = [(*node.address, which) for which in range(RULES[node.rule][1])]
        if not all(address in trees for address in below):
            raise _Malformed(INCOMPLETE)
        trees[node.address] = _joined(node, [trees[address] for address in below])
    if () not in trees:
        raise _Malformed(INCOMPLETE)
    if trees[()][0].size != len(nodes):
        raise _Malformed(UNREADABLE)
    return trees[()]
