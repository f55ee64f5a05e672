"""A record for the terminal: findings first, then the verdicts, then the numbers."""

from collections.abc import Sequence
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.records.sections import Finding
from armillary.report.wording import basis, duration, ends, number, visible

_STYLES = {"holds": "bold green", "fails": "bold red", "undecided": "bold yellow", "not tested": "bold dim"}
_MOST_MEASURES, _FIRST = 40, 3


def render_terminal(record: RunRecord) -> Group:
    """Something ``rich`` prints in any width: the words of a model are text in it, never markup or control codes."""
    models = ", ".join(str(facts.get("name", role)) for role, facts in record.models.items())
    made = " · ".join(part for part in (models, f"seed {record.seed}", duration(record.seconds)) if part)
    parts: list[RenderableType] = [_text(record.title, "bold"), _text(made, "dim")]
    if record.findings:
        parts += [Text(), _findings(record)]
    if record.claims:
        parts += [Text(), _claims(record)]
    if record.measures:
        parts += [Text(), _measures(record)]
    return Group(*parts)


def summary(record: RunRecord, width: int = 110) -> list[str]:
    """The record in a few plain lines: its verdict where its findings have a word of their own, else the first three.

    A verdict's line is its word, its sentence, and below it what the sentence rests on; wrapped to ``width`` columns.
    """
    ranked = _ranked(record)
    if not any(finding.label for finding in ranked):
        return [f"{order}. {visible(finding.text)}" for order, finding in enumerate(ranked[:_FIRST], 1)]
    indent = max(len(finding.label) for finding in ranked) + 2
    lines = []
    for finding in ranked:
        below = " " * indent
        lines += wrap(
            visible(finding.text), width, initial_indent=f"{finding.label:{indent}}", subsequent_indent=below
        )
        lines += wrap(visible(finding.basis), width, initial_indent=below, subsequent_indent=below)
    return lines


def _ranked(record: RunRecord) -> list[Finding]:
    return sorted(record.findings, key=lambda finding: -finding.interest)


def _text(words: str, style: str = "") -> Text:
    return Text(visible(words), style=style, overflow="fold")


def _findings(record: RunRecord) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold cyan", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for order, finding in enumerate(_ranked(record), 1):
        text = _text(finding.text)
        if finding.basis:
            text.append(f"\n{visible(finding.basis)}", style="dim")
        table.add_row(finding.label or str(order), text)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", vertical="top")
    return table


def _claims(record: RunRecord) -> Table:
    table = _table("Claims", "verdict", "claim", "measured")
    table.columns[0].no_wrap = True
    for claim in record.claims:
        numbers = "\n".join(
            f"{visible(name).replace('_', ' ')}: {_interval(interval, claim.limits.get(name, ()))}"
            for name, interval in claim.measured.items()
        )
        statement = _text(claim.statement)
        if claim.note:
            statement.append(f"\n{visible(claim.note)}", style="dim")
        verdict = Text(claim.verdict, style=_STYLES[claim.verdict])
        if claim.reason:
            verdict.append(f"\n{claim.reason}", style="dim")
        table.add_row(verdict, statement, Text(numbers, overflow="fold"))
    return table


def _measures(record: RunRecord) -> Table:
    shown = list(record.measures.items())[:_MOST_MEASURES]
    table = _table("Measures", "measure", "estimate", "from")
    table.columns[1].no_wrap = True
    for name, interval in map(_named, shown):
        table.add_row(Text(name, overflow="fold"), Text(_interval(interval)), _text(basis(interval), "dim"))
    if len(record.measures) > len(shown):
        table.add_row(Text(f"… and {len(record.measures) - len(shown)} more in the record", style="dim"), "", "")
    return table


def _named(item: tuple[str, Interval]) -> tuple[str, Interval]:
    return visible(item[0]).replace("_", " "), item[1]


def _interval(interval: Interval, limits: Sequence[float] = ()) -> str:
    estimate, both = number(interval.estimate, limits), ends(interval, limits)
    return f"{estimate} ({both})" if both else estimate
