"""What is claimed of the logic world itself: rules written before the run.

[derived] These are no claims of the paper. Everything that is concluded from trained models rests on a judge that is
right, so that the judge is held against two programs that nobody here wrote: Coq's tauto and Coq's kernel.
"""

from armillary.records.claims import Claim, Control, Rule, above, at_most

LEAVES = "abF"
"""Of the formulas that are all decided: two atoms and falsum."""

ALL = Control(
    what="Coq decided every formula within its time, provable ones and others",
    rule=Rule(
        ("tauto/unknown", "tauto/provable", "tauto/unprovable"),
        lambda m: (
            "holds"
            if m["tauto/unknown"].upper <= 0 < min(m["tauto/provable"].lower, m["tauto/unprovable"].lower)
            else "fails"
        ),
        {"tauto/unknown": (0.0,), "tauto/provable": (0.0,), "tauto/unprovable": (0.0,)},
    ),
)

CHECKER_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "decides-as-coq",
        "The prover finds a proof exactly where Coq's tauto does, on every small formula.",
        "Formulas over two atoms and falsum on which the two disagree, every one up to a number of connectives.",
        "Holds when there is none, fails when there is one: each would be an error in a judge of proofs.",
        at_most("tauto/disagreements"),
        controls=(ALL,),
        null="Our answers permuted among the formulas of a size: their disagreements stand beside.",
        needs=("tauto/formulas", "tauto/tautologies", "tauto/disagreements, answers permuted"),
    ),
    Claim(
        "kernel-accepts",
        "Coq's kernel, which knows no calculus, accepts the lambda term of every proof.",
        "Terms of the prover's proofs that the kernel refuses, theorems drawn over three atoms, falsum and truth.",
        "Holds when there is none, fails when there is one: a term that is refused is no proof.",
        at_most("kernel/refused"),
        controls=(Control(what="every rule of the calculus is used in these proofs", rule=above("kernel/rules", 14)),),
        null="Each term under the next theorem in place of its own: the share refused stands beside.",
        needs=("kernel/terms", "kernel/refused under another theorem"),
    ),
    Claim(
        "checker-right",
        "The rule-applier accepts no proof that Coq's kernel refuses.",
        "Proofs with one action changed at random that the rule-applier still accepts and the kernel refuses.",
        "Holds when there is none, fails when there is one: a judge that is too lenient would score what is no proof.",
        at_most("checker/accepted, refused by the kernel"),
        controls=(
            Control(what="it accepts the unchanged proofs in every order", rule=at_most("checker/refused as written")),
            Control(what="some changed proofs are accepted", rule=above("checker/changed accepted")),
        ),
        null="A checker that accepts every tree would accept all changed proofs: the share accepted stands beside.",
        needs=("checker/changed", "checker/written"),
    ),
)
