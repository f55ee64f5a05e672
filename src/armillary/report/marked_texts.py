"""Texts with numbered notes at the stretches that they speak of, as HTML that the page's style sheet draws."""

from jinja2 import Environment
from markupsafe import Markup, escape

from armillary.errors import UsageError
from armillary.records.plain import decode, plain
from armillary.records.sections import Figure, MarkedText, MarkedTexts
from armillary.report.wording import visible

WITHOUT_PLACE = 5
"""Notes without a place in the text that show before a reader opens the rest: more would push the next text away."""

_ENVIRONMENT = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters["lines"] = lambda text: escape("\n".join(map(visible, text.split("\n"))))
_ENVIRONMENT.filters["shown"] = visible
_TEMPLATE = _ENVIRONMENT.from_string(
    """\
{% macro entry(note) %}
{{ note.text | shown }}{% if note.detail %} <span class="seen">{{ note.detail | shown }}</span>{% endif %}
{% endmacro %}
<div role="group" aria-label="{{ alt | shown }}">
{% for row in rows %}
<article class="marked-text">
<h3>{{ row.title | shown }}</h3>
{% if row.prompt %}
<details><summary>Prompt</summary><p class="asked" dir="auto">{{ row.prompt | lines }}</p></details>
{% endif %}
<p class="text" dir="auto">
{%- for text, marked, numbers in row.stretches -%}
{% if marked %}<mark>{{ text | lines }}{% if numbers %}<sup>{{ numbers }}</sup>{% endif %}</mark>
{%- else %}{{ text | lines }}{% endif %}
{%- endfor -%}
{% if row.empty %}<span class="nothing">(no text)</span>{% endif %}</p>
{% if row.placed %}
<ul class="placed">{% for number, note in row.placed %}<li><b>{{ number }}</b><span>{{ entry(note) }}</span></li>
{% endfor %}</ul>
{% endif %}
{% if row.first %}
<p class="nowhere">{{ "And with" if row.placed else "With" }} no place of its own in the text:</p>
<ul>{% for note in row.first %}<li>{{ entry(note) }}</li>
{% endfor %}</ul>
{% endif %}
{% if row.rest %}
<details><summary>{{ row.rest | length }} more of these</summary>
<ul>{% for note in row.rest %}<li>{{ entry(note) }}</li>
{% endfor %}</ul></details>
{% endif %}
</article>
{% endfor %}
</div>"""
)  # fmt: skip


def markup(figure: Figure) -> Markup:
    """The figure as one ``<div>``: of each text its title, its prompt folded, the text with marks, and the notes.

    A mark bears the numbers of its notes, so that it shows without colour. Words of a model are escaped, and their
    hidden characters are shown; line ends stay line ends.

    Raises:
        UsageError: the data is not what the kind needs.
    """
    data = decode(type(figure.data), plain(figure.data), f"The data of figure {figure.title!r}")
    if not isinstance(data, MarkedTexts):
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}, not 'marked'.")
    return Markup(_TEMPLATE.render(alt=figure.alt, rows=[_row(row) for row in data.rows]))


def _row(row: MarkedText) -> dict[str, object]:
    """What the template prints: notes are numbered in the order in which their marks stand."""
    numbers: dict[int, int] = {}
    for piece in row.pieces:
        for note in piece.notes:
            numbers.setdefault(note, len(numbers) + 1)
    stretches = []
    for index, piece in enumerate(row.pieces):
        following = row.pieces[index + 1].notes if index + 1 < len(row.pieces) else []
        # The number stands once, where the mark ends, though other marks may have cut the stretch into pieces.
        ended = [numbers[note] for note in piece.notes if note not in following]
        stretches.append((piece.text, bool(piece.notes), ", ".join(map(str, sorted(ended)))))
    others = [note for index, note in enumerate(row.notes) if index not in numbers]
    # One note alone is not worth a fold.
    cut = WITHOUT_PLACE if len(others) > WITHOUT_PLACE + 1 else len(others)
    return {
        "title": row.title,
        "prompt": row.prompt,
        "stretches": stretches,
        "empty": not any(piece.text.strip() for piece in row.pieces),
        "placed": [(number, row.notes[note]) for note, number in numbers.items()],
        "first": others[:cut],
        "rest": others[cut:],
    }
