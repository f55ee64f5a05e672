"""The prover and the checker against Coq: every small formula, drawn proofs as terms, changed proofs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from random import Random

from armillary.cli.reproduce import Preset, ReproduceSettings
from armillary.data.sources import DataSource
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.coq import coq_version, refused_by_kernel, refused_terms, tauto_decides
from armillary.methods.ordering.logic.counting import FormulaSpace
from armillary.methods.ordering.logic.derivations import RULES
from armillary.methods.ordering.logic.generator import Theorem, theorems
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.logic.rules import check
from armillary.methods.ordering.logic.terms import coq_term
from armillary.methods.ordering.logic.world import LogicWorld
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Table
from armillary.runs.run import Outcome, Run
from reproductions.ordering.checkers.changes import with_another_action
from reproductions.ordering.checkers.claims import CHECKER_CLAIMS, LEAVES
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages

CONFIG = LogicConfig(atoms=3, truth=True, nodes=(3, 12), steps=(3, 25))
"""Theorems large enough that every rule is used."""

ELSEWHERE = 20
"""Terms asked about under another theorem: each that is refused costs a process of Coq."""

CHANGES = 4
"""Changes tried of each proof: on a pilot of another seed one in a hundred changed proofs was still a proof."""


@dataclass(frozen=True)
class CheckScale:
    """Sizes of one preset."""

    nodes: int
    """Most connectives of the formulas that are all decided."""

    terms: int
    """Proofs given to the kernel, and changed."""


CHECK_SCALES: dict[Preset, CheckScale] = {
    "quick": CheckScale(nodes=1, terms=120),
    "laptop": CheckScale(nodes=3, terms=500),
    "gpu": CheckScale(nodes=3, terms=5000),
}


@dataclass(frozen=True, kw_only=True)
class DecidedFormulas:
    """Every formula of one size."""

    nodes: int
    formulas: int
    provable: int
    """By our prover."""

    tautologies: int
    """Classically valid."""

    unknown: int
    """On which tauto was stopped."""

    disagreements: list[str]
    permuted: int
    """Disagreements of our answers in random order."""


@dataclass(frozen=True, kw_only=True)
class ExtractedTerms:
    """Proofs as terms."""

    terms: int
    refused: list[str]
    """Coq's words."""

    rules: dict[str, int]
    """Uses of each rule."""

    elsewhere: int
    """Terms asked about under another theorem."""

    elsewhere_refused: int


@dataclass(frozen=True, kw_only=True)
class ChangedProofs:
    """Proofs as the checker sees them, unchanged in every order and with one action changed."""

    written: int
    """Texts, one a proof and order."""

    refused: int
    """Of these, by the judge."""

    changed: int
    accepted: int
    """Changed proofs that the checker accepts."""

    refused_by_kernel: int
    """Of those accepted."""


def decided(nodes: int, seed: int) -> DecidedFormulas:
    """Every formula of this size asked of both."""
    formulas = list(FormulaSpace(LEAVES).every(nodes))
    ours = [prove(formula) is not None for formula in formulas]
    theirs = tauto_decides(formulas)
    permuted = Random(f"permuted {seed}").sample(ours, len(ours))
    return DecidedFormulas(
        nodes=nodes,
        formulas=len(formulas),
        provable=sum(ours),
        tautologies=sum(formula.is_tautology for formula in formulas),
        unknown=theirs.count(None),
        disagreements=[
            formula.text
            for formula, own, other in zip(formulas, ours, theirs, strict=True)
            if other is not None and own != other
        ],
        permuted=sum(own != other for own, other in zip(permuted, theirs, strict=True)),
    )


def extracted(drawn: Sequence[Theorem]) -> ExtractedTerms:
    """Terms of proofs given to the kernel, the first ones also under the next theorem."""
    refused = refused_by_kernel([(theorem.formula, theorem.derivation) for theorem in drawn])
    pairs = list(islice(pairwise(drawn), ELSEWHERE))
    elsewhere = [(other.formula, coq_term(theorem.formula, theorem.derivation)) for theorem, other in pairs]
    return ExtractedTerms(
        terms=len(drawn),
        refused=list(refused.values()),
        rules=dict(Counter(rule for theorem in drawn for rule in theorem.derivation.skeleton)),
        elsewhere=len(elsewhere),
        elsewhere_refused=len(refused_terms(elsewhere)),
    )


def changed(drawn: Sequence[Theorem], seed: int) -> ChangedProofs:
    """Each proof judged in every order, then with one action changed; what is accepted of these goes to the kernel."""
    world, draw = LogicWorld(CONFIG), Random(f"changed {seed}")
    problems = [world.problem(theorem) for theorem in drawn]
    refused = sum(
        not world.judge(problem, order, world.write(problem, order, seed=seed).completion).strict
        for problem in problems
        for order in world.orders
    )
    accepted = []
    for theorem in drawn:
        addresses = [address for address, _ in theorem.derivation.walk()]
        for _ in range(CHANGES):
            proof = with_another_action(theorem.derivation, draw.choice(addresses), draw)
            if check(theorem.formula, proof).ok:
                accepted.append((theorem.formula, proof))
    return ChangedProofs(
        written=len(problems) * len(world.orders),
        refused=refused,
        changed=CHANGES * len(drawn),
        accepted=len(accepted),
        refused_by_kernel=len(refused_by_kernel(accepted)),
    )


def checker_measures(
    sizes: Sequence[DecidedFormulas], terms: ExtractedTerms, proofs: ChangedProofs
) -> dict[str, Interval]:
    """Counts; nothing here is drawn from a population whose share is of interest."""
    formulas = sum(size.formulas for size in sizes)
    version = coq_version()
    every = f"every formula over {LEAVES} of at most {sizes[-1].nodes} connectives, Coq {version}"
    permuted = sum(size.permuted for size in sizes)
    provable = sum(size.provable for size in sizes)
    counts = {
        "tauto/formulas": (formulas, formulas, every),
        "tauto/provable": (provable, formulas, every),
        "tauto/unprovable": (formulas - provable, formulas, every),
        "tauto/tautologies": (sum(size.tautologies for size in sizes), formulas, "truth tables"),
        "tauto/unknown": (sum(size.unknown for size in sizes), formulas, every),
        "tauto/disagreements": (sum(len(size.disagreements) for size in sizes), formulas, every),
        "tauto/disagreements, answers permuted": (permuted, formulas, "permuted within a size"),
        "kernel/terms": (terms.terms, terms.terms, "theorems drawn"),
        "kernel/refused": (len(terms.refused), terms.terms, f"terms, Coq {version}"),
        "kernel/rules": (len(terms.rules), terms.terms, "different rules of the 15"),
        "kernel/refused under another theorem": (
            terms.elsewhere_refused / terms.elsewhere, terms.elsewhere, "share of the terms"
        ),
        "checker/written": (proofs.written, proofs.written, "proofs in every order"),
        "checker/refused as written": (proofs.refused, proofs.written, "proofs in every order"),
        "checker/changed": (proofs.changed, proofs.changed, "one action changed at random"),
        "checker/changed accepted": (proofs.accepted / proofs.changed, proofs.changed, "share of the changed proofs"),
        "checker/accepted, refused by the kernel": (
            proofs.refused_by_kernel, proofs.accepted, "changed proofs that the rule-applier accepts"
        ),
    }  # fmt: skip
    return {
        name: Interval(estimate=float(count), n=max(number, 1), how=how)
        for name, (count, number, how) in counts.items()
    }


def checker_tables(sizes: Sequence[DecidedFormulas], terms: ExtractedTerms) -> dict[str, list[Table]]:
    """Counts by size, and uses of each rule."""
    rows: list[list[Cell]] = [
        [size.nodes, size.formulas, size.provable, size.tautologies, len(size.disagreements), size.permuted]
        for size in sizes
    ]
    used: list[list[Cell]] = [[rule, terms.rules.get(rule, 0)] for rule in RULES]
    columns = ["connectives", "formulas", "provable", "classically valid", "disagreements", "permuted"]
    return {
        "decides-as-coq": [Table(title="Every formula, by size", columns=columns, rows=rows)],
        "kernel-accepts": [Table(title="Rules in the proofs", columns=["rule", "uses"], rows=used)],
    }


def judged_checkers(run: Run[ReproduceSettings]) -> Outcome:
    """Prover and checker held against Coq."""
    scale, seed = CHECK_SCALES[run.settings.preset], run.settings.seed
    drawn = list(islice(theorems(CONFIG, seed=seed), scale.terms))
    with counted_stages(run.parts, "Coq's answers", scale.nodes + 3) as stage:
        sizes = [
            stage.run(DecidedFormulas, f"{nodes} connectives", partial(decided, nodes, seed))
            for nodes in range(scale.nodes + 1)
        ]
        terms = stage.run(ExtractedTerms, "terms", partial(extracted, drawn))
        proofs = stage.run(ChangedProofs, "changed proofs", partial(changed, drawn, seed))
    return judged_outcome(
        f"Prover and checker against Coq {coq_version()}",
        CHECKER_CLAIMS,
        checker_measures(sizes, terms, proofs),
        tables=checker_tables(sizes, terms),
        data=[
            DataSource(
                name="The Coq proof assistant: tauto and kernel",
                package="coq",
                version=coq_version(),
                licence="LGPL-2.1-only",
                url="https://coq.inria.fr",
            )
        ],
    )


def require_coq(_: ReproduceSettings) -> None:
    """UsageError naming the package where Coq is not installed."""
    coq_version()
