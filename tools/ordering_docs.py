"""Tables of ordering's page in the docs: how far inferred edges can be trusted, and the audits of known sources."""

from pathlib import Path

from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord

PRECISION = "ordering_readers.json"

AUDITS = {
    "ordering_audit-python3.11.json": "Python 3.11's standard library, modules (Debian `libpython3.11-stdlib`)",
    "ordering_audit-coq.json": "Coq 8.16.1's standard library, declarations (Debian `libcoq-stdlib`)",
    "ordering_audit-coq-proofs.json": "the same, sentences of its proofs (`--format coq-proof`)",
    "ordering_audit-gsm8k.json": "GSM8K, all 8,792 solutions (`openai/grade-school-math`)",
}
"""Committed audits of sources that were not arranged for it."""


def ordering_parts(results: Path) -> dict[str, str]:
    """The generated parts of the page that rest on these records, by name."""
    return {"precision": _precision(RunRecord.load(results / PRECISION)), "sources": _sources(results)}


def _precision(record: RunRecord) -> str:
    table = record.sections[0].tables[0]
    lines = [table.columns, *([("" if cell is None else str(cell)) for cell in row] for row in table.rows)]
    return _table(lines)


def _sources(results: Path) -> str:
    columns = [
        "source",
        "samples with dependencies",
        "out of order",
        "dependencies to the right, mean",
        "Kendall's tau",
    ]
    lines = [columns]
    for name, words in AUDITS.items():
        measures = RunRecord.load(results / name).measures
        late = measures["samples out of order"]
        tau = measures["Kendall tau"]
        ends = "" if tau.low is None or tau.high is None else f" [{tau.low:.3f}, {tau.high:.3f}]"
        lines.append([words, f"{late.n:,}", _percent(late), _percent(measures["VF"]), f"{tau.estimate:.3f}{ends}"])
    return _table(lines)


def _percent(value: Interval) -> str:
    ends = "" if value.low is None or value.high is None else f" [{100 * value.low:.2f}, {100 * value.high:.2f}]"
    return f"{100 * value.estimate:.2f} %{ends}"


def _table(lines: list[list[str]]) -> str:
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows])
