"""Texts whose tokens are coloured by a number each, as HTML that the page's style sheet draws (``.tokens``)."""

from jinja2 import Environment
from markupsafe import Markup

from armillary.errors import UsageError
from armillary.records.sections import Figure, Tokens
from armillary.report.figure_data import drawable
from armillary.report.wording import number, visible

STEPS = 4
"""Shades on each side of zero; the style sheet has as many."""

_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<div role="group" aria-label="{{ alt }}">
<div class="scale"><span>{{ low_name }}</span>
<div class="steps">{% for shade, value in scale %}<span class="{{ shade }}">{{ value }}</span>{% endfor %}</div>
<span>{{ high_name }}</span></div>
{% for row in rows %}
<div class="row"><p class="told"><b>{{ row.label }}</b>{{ row.note }}</p>
<p class="text" dir="auto">
{%- for shade, value, token in row.marks -%}
<span{% if shade %} class="{{ shade }}"{% endif %} title="{{ value }}">{{ token }}</span>
{%- endfor -%}
</p></div>
{% endfor %}
</div>"""
)


def markup(figure: Figure) -> Markup:
    """The figure as one ``<div>``: a scale, then a label, a note and the coloured text for each row.

    A token of model text is escaped, and its hidden characters are shown ("␊" for a newline). Its number is the
    ``title`` of its mark; the strongest are underlined by the style sheet, so that they show without colour.

    Raises:
        UsageError: the data is not what the kind needs.
    """
    data = drawable(figure)
    if not isinstance(data, Tokens):
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}, not 'tokens'.")
    rows = [
        {
            "label": row.label,
            "note": row.note,
            # A token of no visible text (part of a character) still needs something to point at.
            "marks": [
                (shade(value, data.limit), _signed(value), token or "\N{EMPTY SET}")
                for token, value in zip(row.tokens, row.values, strict=True)
            ],
        }
        for row in data.rows
    ]
    steps = range(-STEPS, STEPS + 1)
    scale = [
        (shade(float(step), STEPS), "\N{NO-BREAK SPACE}" if step % STEPS else _signed(data.limit * step / STEPS))
        for step in steps
    ]
    return Markup(
        _TEMPLATE.render(
            alt=visible(figure.alt), low_name=data.low_name, high_name=data.high_name, scale=scale, rows=rows
        )
    )


def shade(value: float | None, limit: float) -> str:
    """Class of the style sheet: "l1" to "l4" below zero, "h1" to "h4" above, "" next to zero or for no value."""
    step = 0 if value is None else min(STEPS, round(STEPS * abs(value) / limit))
    return f"{'l' if value is not None and value < 0 else 'h'}{step}" if step else ""


def _signed(value: float | None) -> str:
    shown = number(value)
    return f"+{shown}" if value is not None and value > 0 else shown
