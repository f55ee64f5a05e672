"""A record as one HTML file: everything inside it, nothing fetched, every word of a model escaped."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from armillary.records.claims import Verdict
from armillary.records.record import RunRecord
from armillary.records.sections import Figure
from armillary.report import answers, marked_texts, step_orders, tokens
from armillary.report.drawing import svg
from armillary.report.interactive import scripts, specification
from armillary.report.tables import cell, least_width, shape, stacking_rules
from armillary.report.wording import NOTHING, basis, duration, ends, moment, number, visible

_HERE = Path(__file__).parent
TEXTS = {
    "tokens": tokens.markup,
    "answers": answers.markup,
    "marked": marked_texts.markup,
    "orders": step_orders.markup,
}
"""Kinds of figure that are text and no drawing."""

MEASURE_COLUMNS = ["measure", "estimate", "interval", "n", "from"]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure as the page shows it: still at both widths, and its specification where it is interactive."""

    figure: Figure
    wide: Markup
    narrow: Markup | None
    specification: Markup | None


def render_html(record: RunRecord) -> str:
    """The report of ``record`` as one page: works offline, on a phone, on light and dark, and with scripts off.

    Figures are inline SVG. Where one is interactive, Vega is embedded once (0.9 MB) and replaces the still picture;
    without vl-convert or Altair the still pictures stay. The page's own policy forbids it to fetch anything and to run
    any script but its own, named by checksum.

    Raises:
        UsageError: the data of a figure is not what its kind needs.
    """
    sections = [
        (
            section,
            f"s{order}",
            [_drawn(figure, f"f{order}-{index}") for index, figure in enumerate(section.figures, 1)],
        )
        for order, section in enumerate(record.sections, 1)
    ]
    labelled = any(finding.label for finding in record.findings)
    lively = any(drawn.specification for _, _, figures in sections for drawn in figures)
    code = [(_HERE / "page.js").read_text(encoding="utf-8")]
    vega = scripts() if lively else None
    if vega is not None:
        code += [vega, (_HERE / "interactive.js").read_text(encoding="utf-8")]
    source_fields = list(dict.fromkeys(field for source in record.data for field in source))
    sources = [[source.get(field) for field in source_fields] for source in record.data]
    facts = dict.fromkeys(fact for facts in record.models.values() for fact in facts)
    models = [[fact.replace("_", " "), *(model.get(fact) for model in record.models.values())] for fact in facts]
    model_columns = ["", *record.models]
    measures = [
        [name.replace("_", " "), interval.estimate, ends(interval) or NOTHING, interval.n, basis(interval)]
        for name, interval in record.measures.items()
    ]
    tables: list[tuple[Sequence[str], Sequence[Sequence[Any]]]] = [
        (table.columns, table.rows) for section in record.sections for table in section.tables
    ]
    tables += [(MEASURE_COLUMNS, measures), (source_fields, sources), (model_columns, models)]
    style = (_HERE / "page.css").read_text(encoding="utf-8") + stacking_rules(least_width(*table) for table in tables)
    return _environment().get_template("page.html").render(
        record=record,
        sections=sections,
        anchors={section.id: anchor for section, anchor, _ in sections},
        findings=sorted(record.findings, key=lambda finding: -finding.interest),
        findings_title="What changed" if labelled else "Findings",
        labelled=labelled,
        texts=TEXTS,
        verdicts=[(word, sum(claim.verdict == word for claim in record.claims))
                  for word in get_args(Verdict)],
        alone=len(record.models) == 1,
        model_columns=model_columns,
        models=models,
        measure_columns=MEASURE_COLUMNS,
        measures=measures,
        source_fields=source_fields,
        sources=sources,
        style=Markup(style),
        scripts=[Markup(script) for script in code],
        policy=_policy(code),
        lively=vega is not None,
    )  # fmt: skip


def _drawn(figure: Figure, prefix: str) -> Drawn:
    if figure.kind in TEXTS:
        return Drawn(figure=figure, wide=TEXTS[figure.kind](figure), narrow=None, specification=None)
    specified = specification(figure)
    # SVG and script data are made of escaped text only (report.markup, report.interactive).
    return Drawn(
        figure=figure,
        wide=Markup(svg(figure, prefix=f"{prefix}w-")),
        narrow=None if figure.kind == "heatmap" else Markup(svg(figure, narrow=True, prefix=f"{prefix}n-")),
        specification=None if specified is None else Markup(specified),
    )


def _policy(code: list[str]) -> str:
    checksums = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in code
    )
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {checksums}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    environment.filters.update(
        cell=cell,
        shape=shape,
        setting=_setting,
        words=_words,
        paragraphs=_paragraphs,
        duration=duration,
        moment=moment,
        ends=ends,
        basis=basis,
        number=number,
    )
    environment.globals["least_width"] = least_width
    environment.tests["link"] = _is_link
    return environment


def _shown(value: Any) -> Any:
    """What the template prints: text with its hidden characters shown; trusted markup as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _setting(value: Any) -> str:
    """A setting exactly as the record has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(name: str) -> str:
    """A field's name for a reader: "memory_gib" as "memory gib"."""
    return name.replace("_", " ")


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split("\n")) for part in text.split("\n\n") if part.strip()]


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))
