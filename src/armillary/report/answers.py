"""Two models' answers side by side, the first differing token marked, as HTML that the page sorts (``.answers``)."""

from jinja2 import Environment
from markupsafe import Markup, escape

from armillary.errors import UsageError
from armillary.records.plain import decode, plain
from armillary.records.sections import AnswerPair, AnswerPairs, Figure
from armillary.report.wording import number, visible


def _lines(text: str) -> Markup:
    """Text whose line ends stay line ends, every other hidden character shown."""
    return escape("\n".join(map(visible, text.split("\n"))))


def _marked(token: str) -> Markup:
    """A token with something to see even where it is a line end, or where the answer has none."""
    return escape(visible(token)) + ("\n" if token.endswith("\n") else "") if token else escape(END)


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_ENVIRONMENT = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
_ENVIRONMENT.filters.update(lines=_lines, marked=_marked)
_TEMPLATE = _ENVIRONMENT.from_string(
    """\
<div role="group" aria-label="{{ alt }}" class="pairs-of-answers">
{% if keys %}
<div class="sort" hidden><span>Sort by</span>
<button type="button" aria-pressed="true" data-key="">as found</button>
{% for key in keys %}<button type="button" aria-pressed="false" data-key="{{ loop.index0 }}">{{ key }}</button>
{% endfor %}
</div>
{% endif %}
<div class="rows">
{% for row, values in rows %}
<article class="pair" data-order="{{ loop.index0 }}" data-values="{{ values }}">
<p class="about">
{%- if row.change %}<span class="turn {{ row.turn }}">{{ marks[row.turn] }} {{ row.change }}</span>{% endif %}
{%- if row.group %}<span>{{ row.group }}</span>{% endif %}
{%- for name, value in named(row) %}<span>{{ name }} <b>{{ value }}</b></span>{% endfor -%}
</p>
<p class="prompt" dir="auto">{{ row.prompt | lines }}</p>
<div class="sides">
{% for name, side in ((before_name, row.before), (after_name, row.after)) %}
<div><p class="side">{{ name }}</p>
<p class="answer" dir="auto">{{ row.shared | lines }}<mark>{{ side[0] | marked }}</mark>{{ side[1] | lines }}</p></div>
{% endfor %}
</div>
{% if row.wanted %}<p class="wanted" dir="auto">Right is <b>{{ row.wanted }}</b></p>{% endif %}
</article>
{% endfor %}
</div>
{% if rows | length > first %}
<button type="button" class="more" data-first="{{ first }}" hidden>Show all {{ rows | length }}</button>
{% endif %}
</div>"""
)

FIRST = 8
"""Pairs that show before a reader asks for the rest: about three screens."""

END = "(ends)"
"""What is marked where an answer has no further token: it stopped there."""

MARKS = {"worse": "\N{MULTIPLICATION X}", "better": "\N{CHECK MARK}", "neither": "\N{ALMOST EQUAL TO}"}
"""Signs beside the words, for whoever does not see the colours."""


def markup(figure: Figure) -> Markup:
    """The figure as one ``<div>``: for each pair what changed, the prompt, and both answers beside one another.

    Words of a model are escaped, and their hidden characters are shown. Without scripts every pair shows in the order
    of the record; with them the page sorts by group or number and shows the first ``FIRST``.

    Raises:
        UsageError: the data is not what the kind needs.
    """
    data = decode(type(figure.data), plain(figure.data), f"The data of figure {figure.title!r}")
    if not isinstance(data, AnswerPairs):
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}, not 'answers'.")

    def named(row: AnswerPair) -> list[tuple[str, str]]:
        return [(name, number(value)) for name, value in zip(data.numbers, row.numbers, strict=True)]

    keys = (["kind"] if any(row.group for row in data.rows) else []) + data.numbers
    grouped = len(keys) - len(data.numbers)
    rows = []
    for row in data.rows:
        # What the page sorts the pair by, one line a key: text for the group, then numbers, largest first.
        numbers = ["" if value is None else repr(value) for value in row.numbers]
        keyed = [visible(" ".join(row.group.split()))] * grouped + numbers
        rows.append((row, Markup(escape("\n".join(keyed)))))
    return Markup(
        _TEMPLATE.render(
            alt=figure.alt, keys=keys if len(rows) > 1 else [], rows=rows, named=named, marks=MARKS, first=FIRST,
            before_name=data.before_name, after_name=data.after_name,
        )
    )  # fmt: skip
