"""Ordering's parts against what others offer for the same work; see each part.

    python benchmarks/ordering.py [--parts proofs] [--repeats 5] [--quick]

proofs: formulas decided and every proof checked by the rule-applier, against Coq's ``tauto``, which decides the same
formulas in one process; needs Coq (the Debian package coq). Coq checks nothing there: ``tauto`` is stopped before its
term reaches the kernel; the clock and the message of each formula cost it a twentieth of its time. Its start, which
many formulas share, is left out in rows that say so. The last rows are of theorems alone, as the world draws them.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from measure import interleaved, medians, ratio, show_and_save

from armillary.errors import UsageError
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.coq import coq_version, tauto_decides
from armillary.methods.ordering.logic.counting import FormulaSpace
from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.generator import theorems
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.logic.rules import check

Rows = list[dict[str, object]]


def row(
    what: str, peer: Sequence[dict[str, float]], ours: Sequence[dict[str, float]], key: str, count: int
) -> dict[str, object]:
    """One row of the table: ``key`` of both sides, for one of ``count`` things."""
    return {
        "what": what,
        "peer": medians(peer, key) / count,
        "ours": medians(ours, key) / count,
        "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
    }


SIZES = (("abF", 3, 6), ("abcF", 9, 9), ("abcdeF", 16, 16))
"""Leaves, fewest and most connectives: the sizes that small models learn, middling ones, and PropL's smallest."""


def children_seconds() -> float:
    """Processor time of the processes that this one has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def coq_decides(formulas: Sequence[Formula]) -> dict[str, float]:
    """Processor seconds of Coq, with its start and without, which is that of a file with one formula."""
    before = children_seconds()
    tauto_decides(formulas[:1])
    start = children_seconds() - before
    answers = tauto_decides(formulas)
    whole = children_seconds() - before - start
    return {"whole": whole, "without start": whole - start, "provable": sum(answer is True for answer in answers)}


def we_decide(formulas: Sequence[Formula]) -> dict[str, float]:
    """Processor seconds for a decision of each, and a check of each proof."""
    before = time.process_time()
    provable = 0
    for formula in formulas:
        proof = prove(formula)
        if proof is not None:
            provable += check(formula, proof).ok
    seconds = time.process_time() - before
    return {"whole": seconds, "without start": seconds, "provable": provable}


def proofs(repeats: int, *, quick: bool) -> Rows:
    """Decisions and checks against ``tauto``, by size."""
    rows: Rows = []
    count = 50 if quick else 1000
    kinds: dict[str, list[Formula]] = {}
    for leaves, fewest, most in SIZES:
        draw, space = Random(f"{leaves} {most}"), FormulaSpace(leaves)
        size = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        kinds[f"a formula of {size} connectives over {leaves}"] = [
            space.drawn(draw.randint(fewest, most), draw) for _ in range(count)
        ]
    kinds["a theorem of the logic world"] = [
        theorem.formula for theorem in islice(theorems(LogicConfig(), seed=0), count)
    ]
    for what, formulas in kinds.items():
        runs = interleaved(
            {"tauto": lambda _, f=formulas: coq_decides(f), "ours": lambda _, f=formulas: we_decide(f)}, repeats
        )
        if runs["tauto"][0]["provable"] != runs["ours"][0]["provable"]:
            raise SystemExit("The two disagree on some formula.")
        what += f" decided, a proof checked, Coq {coq_version()}: time, s"
        rows.append(row(what, runs["tauto"], runs["ours"], "whole", len(formulas)))
        rows.append(row(f"{what}, without Coq's start", runs["tauto"], runs["ours"], "without start", len(formulas)))
    return rows


PARTS: dict[str, Callable[..., Rows]] = {"proofs": proofs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="little work, one repeat: shows that it runs")
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    for part in options.parts:
        try:
            rows = PARTS[part](repeats, quick=options.quick)
        except UsageError as missing:  # a program or package that only this part needs
            print(f"{part} is left out: {missing}")
            continue
        show_and_save(f"ordering-{part}", f"Ordering: {part}", "no model", {"repeats": repeats}, rows)


if __name__ == "__main__":
    main()
