"""Texts whose steps stand in two orders side by side, as HTML that the page's style sheet draws."""

from jinja2 import Environment
from markupsafe import Markup, escape

from armillary.errors import UsageError
from armillary.records.plain import decode, plain
from armillary.records.sections import Figure, OrderPairs
from armillary.report.wording import visible

_ENVIRONMENT = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters["lines"] = lambda text: escape("\n".join(map(visible, text.split("\n"))))
_ENVIRONMENT.filters["shown"] = visible
_TEMPLATE = _ENVIRONMENT.from_string(
    """\
<div role="group" aria-label="{{ alt | shown }}">
{% for row in rows %}
<article class="step-order">
<h3>{{ row.title | shown }}</h3>
{% if row.prompt %}
<details><summary>Prompt</summary><p class="asked" dir="auto">{{ row.prompt | lines }}</p></details>
{% endif %}
<div class="sides">
{% for name, way, steps in [(before, "to", row.before), (after, "from", row.after)] %}
<div><p class="side">{{ name | shown }}</p>
<ol>
{% for step in steps %}
{% if step.skipped %}
<li class="gap">{{ step.skipped }} more {{ "step" if step.skipped == 1 else "steps" }}</li>
{% else %}
<li{% if step.moved %} class="moved"{% endif %}><span class="place">{{ step.place }}</span>
<span class="step" dir="auto">{{ step.text | lines }}</span>
{% if step.moved or step.note %}
<span class="said">{% if step.note %}<span class="wrong">{{ step.note | shown }}</span>{% endif %}
{% if step.moved %}{{ " · " if step.note }}<b>moved {{ way }} {{ step.other }}</b>{% endif %}</span>
{% endif %}</li>
{% endif %}
{% endfor %}
</ol></div>
{% endfor %}
</div>
</article>
{% endfor %}
</div>"""
)


def markup(figure: Figure) -> Markup:
    """The figure as one ``<div>``: of each text its title, its prompt folded, and its steps in both orders.

    What moved says where it stands in the other order, so that it shows without colour. Words of a model are escaped,
    and their hidden characters are shown; line ends stay line ends.

    Raises:
        UsageError: the data is not what the kind needs.
    """
    data = decode(type(figure.data), plain(figure.data), f"The data of figure {figure.title!r}")
    if not isinstance(data, OrderPairs):
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}, not 'orders'.")
    return Markup(_TEMPLATE.render(alt=figure.alt, rows=data.rows, before=data.before_name, after=data.after_name))
