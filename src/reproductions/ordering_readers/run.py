"""The precision of every reader that infers edges, in one record.

    python -m reproductions.ordering_readers.run [--out results/ordering_readers.json] [--python DIR] [--coq DIR]
        [--symbolic GSM_p2.jsonl] [--gsm8k test.jsonl] [--quick]

Made texts need nothing; Python's modules are those of the running interpreter unless another folder is named; Coq
needs coqc (Debian: coq, libcoq-stdlib). What isn't there or named is left out, and the record says so.
"""

import argparse
import shutil
import subprocess
import sysconfig
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from armillary.methods.ordering.readers.coq.declarations import declarations
from armillary.methods.ordering.readers.coq.proofs import suppliers as proof_suppliers
from armillary.methods.ordering.readers.coq.text import introduced, named, parameters
from armillary.methods.ordering.readers.graph import without_circles
from armillary.methods.ordering.readers.interface import Reader
from armillary.methods.ordering.readers.registry import reader
from armillary.numerics.intervals import Interval, binomial
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Section, Table
from armillary.runs.environment import machine, versions
from reproductions.ordering_readers.coq_renaming import Answer, Asked, answer
from reproductions.ordering_readers.coq_truth import dumped, true_edges as coq_edges
from reproductions.ordering_readers.made import Made, arguments, calculations, multiplications
from reproductions.ordering_readers.python_truth import true_edges as python_edges
from reproductions.ordering_readers.score import Edges, Score
from reproductions.ordering_readers.solutions import as_messages, by_values, read_by_a_person, variants

SEED = 0
CHECKED = Path(__file__).with_name("checked_by_hand.json")


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    texts: int
    """Made texts of each sort."""

    modules: int | None
    """Python modules; None for all."""

    coq_files: int
    coq_proofs: int
    """Files of which one edge of one proof is asked of coqc."""


FULL = Scale(texts=2000, modules=None, coq_files=40, coq_proofs=100)
"""Coq decides: a file takes it seconds, and 100 answers bound a precision of 0.95 within five points."""

QUICK = Scale(texts=50, modules=20, coq_files=3, coq_proofs=3)


def made_score(chosen: Reader, texts: Iterable[Made]) -> Score:
    """Of a reader on texts made together with their graphs."""
    score = Score()
    for text in texts:
        sample = chosen(text.record)
        score.add([] if sample is None else [*sample.edges()], text.edges)
    return score


def python_score(folder: Path, count: int | None) -> Score:
    """Of the reader of modules against the interpreter's own bytecode; edges within circles left out of both."""
    score, chosen = Score(), reader("python-code")
    files = sorted(folder.rglob("*.py"))
    Random(SEED).shuffle(files)
    for path in files:
        if {"site-packages", "dist-packages"} & {*path.parts} or len(score.units) == count:
            continue
        try:
            text = path.read_text("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                true = python_edges(text)
        except (SyntaxError, ValueError):  # of another Python, or of none: the library keeps such for its tests
            continue
        sample = chosen(text)
        if sample is not None:
            score.add([*sample.edges()], _acyclic(true, len(sample.steps)))
    return score


def _acyclic(edges: Edges, steps: int) -> Edges:
    sources = [set[int]() for _ in range(steps)]
    for u, v in edges:
        sources[v].add(u)
    return {(u, v) for v, places in enumerate(without_circles(sources)) for u in places}


def coq_files(folder: Path) -> list[Path]:
    """Coq's files in a drawn order."""
    files = sorted(folder.rglob("*.v"))
    Random(SEED).shuffle(files)
    return files


UNSEEN = ("ltac", "notation")
"""Kinds of declaration whose uses coqc does not dump: edges from and to them can't be judged."""


def coq_score(folder: Path, count: int, scratch: Path) -> Score:
    """Of the reader of Coq files against coqc's own references."""
    score, chosen = Score(), reader("coq")
    for path in coq_files(folder):
        if len(score.units) == count:
            break
        text = path.read_text("utf-8")
        sample = chosen(text)
        glob = None if sample is None else dumped(path, scratch)
        if sample is None or glob is None:
            continue
        seen = {place for place, step in enumerate(sample.steps) if step.kind not in UNSEEN}
        true = {edge for edge in coq_edges(text, glob, declarations(text)) if seen.issuperset(edge)}
        score.add([edge for edge in sample.edges() if seen.issuperset(edge)], true)
    return score


def proof_answers(folder: Path, count: int, scratch: Path) -> list[Answer]:
    """Of one drawn edge of one drawn proof of each drawn file, what coqc says."""
    draw, answers = Random(SEED), list[Answer]()
    for path in coq_files(folder):
        if len(answers) == count:
            break
        text = path.read_text("utf-8")
        questions = [*_edges_of_proofs(text)]
        if questions:
            answers.append(answer(draw.choice(questions), scratch))
    return answers


def _edges_of_proofs(text: str) -> Iterator[Asked]:
    for part in declarations(text):
        steps = [sentence for sentence in part.sentences if not sentence.focus]
        if len(steps) < 3:  # as ``CoqProofReader``
            continue
        for step, sources in enumerate(proof_suppliers(part.sentences)):
            for source in sorted(sources):
                here = {*introduced(steps[source].bare)} if source else {*parameters(steps[0].bare)}
                # Of several names that come from one sentence any stands for the edge; quantified variables of the
                # statement are no hypotheses yet, and have no name that Coq would hold a tactic to.
                names = sorted(here & named(steps[step].bare))
                if source and names:
                    yield Asked(text, part, source, step, names[0])


def measured(options: argparse.Namespace, scale: Scale) -> tuple[dict[str, Interval], list[list[Cell]], list[str]]:
    """Measures, rows of the table, and what was left out."""
    count = scale.texts
    scores: dict[str, tuple[str, Score]] = {}
    for mixed in (False, True):
        order = "in a drawn order" if mixed else "in order"
        for symbols in (True, False):
            what = f"scratchpad, {'symbols' if symbols else 'numbers alone'}, {order}"
            made = multiplications(count, SEED, symbols=symbols, shuffled=mixed)
            scores[what] = "its making", made_score(reader("scratchpad"), made)
        made = calculations(count, SEED, shuffled=mixed)
        scores[f"calculator, made, {order}"] = "its making", made_score(reader("calculator"), made)
        made = arguments(count, SEED, shuffled=mixed)
        scores[f"numbered, made, {order}"] = "its making", made_score(reader("numbered"), made)
    left_out = list[str]()
    folder = options.python or Path(sysconfig.get_path("stdlib"))
    scores["python-code, standard library"] = "CPython's bytecode", python_score(folder, scale.modules)
    if options.symbolic is None:
        left_out.append("GSM-Symbolic (--symbolic)")
    else:
        for what, edges_of in (("calculator", by_values), ("messages", as_messages)):
            agreed = variants(options.symbolic, edges_of, odd=True)
            scores[f"{what}, GSM-Symbolic"] = "most variants of a problem", agreed
    measures, rows = dict[str, Interval](), list[list[Cell]]()
    with TemporaryDirectory() as scratch:
        coq = options.coq or _coq_theories()
        if coq is None:
            left_out.append("Coq (coqc is not installed)")
        else:
            scores["coq, standard library"] = "coqc's glob files", coq_score(coq, scale.coq_files, Path(scratch))
            answers = proof_answers(coq, scale.coq_proofs, Path(scratch))
            decided = [given for given in answers if given != "unknown"]
            how = f"exact binomial over {len(decided)} edges of as many files; {len(answers) - len(decided)} undecided"
            precision = binomial(decided.count("true"), len(decided), how=how)
            measures["coq-proof, standard library: precision"] = precision
            rows.append(["coq-proof, standard library", "coqc on renamed hypotheses", len(decided), None,
                         _shown(precision), "", ""])  # fmt: skip
    if options.gsm8k is None:
        left_out.append("GSM8K (--gsm8k)")
    else:
        precision = read_by_a_person(options.gsm8k, CHECKED).precision
        measures["calculator, GSM8K: precision"] = precision
        rows.append(["calculator, GSM8K", "read by a person", precision.n, None, _shown(precision), "", ""])
    for what, (truth, score) in scores.items():
        edges, right = score.edges()
        precision, recall, of_right = score.precision(SEED), score.recall(SEED), score.right_precision(SEED)
        measures |= {f"{what}: precision": precision, f"{what}: recall": recall}
        if of_right is not None:
            measures[f"{what}: precision to the right"] = of_right
        rows.append([what, truth, edges, right, _shown(precision), _shown(recall), _shown(of_right)])
    return measures, sorted(rows, key=lambda row: str(row[0])), left_out


def _coq_theories() -> Path | None:
    if shutil.which("coqc") is None:
        return None
    done = subprocess.run(["coqc", "-where"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / "theories"


def _shown(value: Interval | None) -> str:
    if value is None:
        return ""
    return (
        f"{value.estimate:.3f}" if value.low is None else f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Precision of the edges that readers of step data infer.")
    parser.add_argument("--out", type=Path, default=Path("results/ordering_readers.json"))
    for name in ("python", "coq", "symbolic", "gsm8k"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--quick", action="store_true", help="few texts and files: that the path works")
    options = parser.parse_args()
    began = time.perf_counter()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    measures, rows, left_out = measured(options, QUICK if options.quick else FULL)
    table = Table(
        title="Inferred edges against true ones",
        columns=["Reader and texts", "Truth", "Edges inferred", "Of these to the right", "Precision", "Recall",
                 "Precision to the right"],
        rows=rows,
        note="95 % intervals over texts or files. Left out: " + (", ".join(left_out) or "nothing") + ".",
    )  # fmt: skip
    named_measures = Table(
        title="How each interval was made",
        columns=["Measure", "Estimate", "How"],
        rows=[[name, _shown(value), value.how] for name, value in measures.items()],
    )
    RunRecord(
        kind="ordering readers",
        title="How far the edges that readers infer can be trusted",
        config={"quick": options.quick, "seed": SEED},
        models={},
        seed=SEED,
        measures=measures,
        sections=[
            Section(
                id="precision",
                title="Precision of inferred edges",
                summary=f"{len(rows)} measurements of seven readers.",
                meaning="An edge is inferred when a reader takes one step for the support of another. Precision is "
                "the share of them that are true, recall the share of the true ones that are inferred.",
                caution="Each truth knows what its maker knows: bytecode sees no string that is evaluated, a glob "
                "file no tactic's hints, variants no mistake that all of them share.",
                tables=[table, named_measures],
            )
        ],
        data=_sources(options),
        versions=versions(),
        machine=dict(machine()),
        started=started,
        seconds=time.perf_counter() - began,
    ).save(options.out)
    for row in rows:
        print(*row, sep=" | ")


def _sources(options: argparse.Namespace) -> list[dict[str, str]]:
    sources = [{"name": "Python's standard library", "licence": "PSF"}]
    if options.coq or _coq_theories():
        sources.append({"name": "Coq's standard library (Debian: libcoq-stdlib 8.16.1)", "licence": "LGPL-2.1"})
    if options.symbolic:
        sources.append({"name": "GSM-Symbolic (github.com/apple/ml-gsm-symbolic)", "licence": "CC-BY-NC-ND-4.0"})
    if options.gsm8k:
        sources.append({"name": "GSM8K (github.com/openai/grade-school-math)", "licence": "MIT"})
    return sources


if __name__ == "__main__":
    main()
