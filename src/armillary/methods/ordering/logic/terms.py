"""The lambda term of a proof, as Coq reads it: a type checker then accepts or refuses the whole proof by its kernel.

[derived] A proposition is the type of its proofs: a hypothesis is a variable, impR a function, andR a pair, orL a
match, and a rule that replaces a hypothesis binds the new one by ``let``. All that Coq could infer is written out, so
that the kernel has nothing to guess.
"""

from armillary.methods.ordering.logic.derivations import Derivation
from armillary.methods.ordering.logic.formulas import FALSUM, TRUTH, Formula
from armillary.methods.ordering.logic.rules import Sequent, below

_CONNECTIVES = {"&": "/\\", "|": "\\/", ">": "->"}


def coq_type(formula: Formula) -> str:
    """The formula as a Coq proposition, in brackets where it is compound."""
    if formula.parts:
        left, right = map(coq_type, formula.parts)
        return f"({left} {_CONNECTIVES[formula.symbol]} {right})"
    return {FALSUM: "False", TRUTH: "True"}.get(formula.symbol, formula.symbol)


def coq_term(formula: Formula, derivation: Derivation) -> str:
    """A term whose type is the formula, closed but for the atoms. RuleRefused where the derivation is no proof."""
    return _term(Sequent({}, formula), derivation)


def _term(sequent: Sequent, node: Derivation) -> str:
    premises = below(sequent, node)
    inner = [_term(premise, child) for premise, child in zip(premises, node.children, strict=True)]
    goal = coq_type(sequent.goal)
    used = sequent.hypotheses[node.arguments[0]] if node.arguments else sequent.goal
    name = f"h{node.arguments[0]}" if node.arguments else ""
    first, second = f"h{sequent.following}", f"h{sequent.following + 1}"  # what the rule adds

    def let(value: str, place: int = 0, body: str = inner[0] if inner else "") -> str:
        number = sequent.following + place
        return f"(let h{number} : {coq_type(premises[0].hypotheses[number])} := {value} in {body})"

    match node.rule:
        case "botL":
            return f"(False_ind {goal} {name})"
        case "ax":
            return name
        case "topR":
            return "I"
        case "impR":
            return f"(fun {first} : {coq_type(sequent.goal.parts[0])} => {inner[0]})"
        case "andR":
            return f"(@conj {_sides(sequent.goal)} {inner[0]} {inner[1]})"
        case "orR1":
            return f"(@or_introl {_sides(sequent.goal)} {inner[0]})"
        case "orR2":
            return f"(@or_intror {_sides(sequent.goal)} {inner[0]})"
        case "andL":
            return f"(match {name} return {goal} with conj {first} {second} => {inner[0]} end)"
        case "orL":
            left, right = f"or_introl {first} => {inner[0]}", f"or_intror {first} => {inner[1]}"
            return f"(match {name} return {goal} with {left} | {right} end)"
        case "drop":
            return inner[0]
        case "unit":
            return let(f"{name} I")
        case "mp":
            return let(f"{name} h{node.arguments[1]}")
        case "curry":
            return let(f"fun x y => {name} (@conj {_sides(used.parts[0])} x y)")
        case "split":
            sides = _sides(used.parts[0])
            right = let(f"fun y => {name} (@or_intror {sides} y)", place=1)
            return let(f"fun x => {name} (@or_introl {sides} x)", body=right)
        case _:  # impimp: (C > D) > B gives C > D by way of D > B, and so B
            nested = let(f"fun d => {name} (fun _ => d)")
            conclusion = f"(let {first} : {coq_type(used.parts[1])} := {name} k in {inner[1]})"
            return f"(let k : {coq_type(used.parts[0])} := {nested} in {conclusion})"


def _sides(formula: Formula) -> str:
    return " ".join(map(coq_type, formula.parts))
