"""A proof with one action changed: nearly always no proof any more."""

from dataclasses import replace
from random import Random

from armillary.methods.ordering.logic.derivations import RULES, Address, Derivation

NUMBERS = 8
"""Hypotheses that small proofs have, so that a change is not refused for its number alone."""


def with_another_action(node: Derivation, address: Address, draw: Random) -> Derivation:
    """The proof with another action at this node, one that leaves as many premises, so that the tree stays a tree."""
    if address:
        children = list(node.children)
        children[address[0]] = with_another_action(children[address[0]], address[1:], draw)
        return replace(node, children=tuple(children))
    rules = [rule for rule, (_, premises) in RULES.items() if premises == len(node.children)]
    while True:
        rule = draw.choice(rules)
        arguments = tuple(draw.randrange(NUMBERS) for _ in range(RULES[rule][0]))
        if (rule, arguments) != (node.rule, node.arguments):
            return replace(node, rule=rule, arguments=arguments)
