"""The pages of all plants as tables: what each said, and what each comparison can and can't see."""

from collections.abc import Sequence

from armillary.records.sections import Cell, Section, Table
from armillary.report.wording import duration
from reproductions.diff_calibration.measures import from_size, is_named, limits
from reproductions.diff_calibration.pages import Page


def page_table(pages: Sequence[Page]) -> Table:
    """A row a page."""
    rows: list[list[Cell]] = [
        [
            page.plant.name,
            ("false alarm" if page.alarms else "") if page.unchanged else "yes" if is_named(page) else "no",
            len(page.verdict),
            len(page.comparisons),
            page.lines[0] if page.lines else "no line",
        ]
        for page in pages
    ]
    return Table(
        title="What the page of each plant said",
        columns=["planted", "named", "lines", "comparisons", "first line"],
        rows=rows,
        note="Named: a line is about what was planted; of changes to all of a model any line about what it does "
        "counts, not one about its files alone.",
    )


def limit_table(pages: Sequence[Page]) -> Table:
    """A row a comparison: how often it was seen, how often wrongly, and how large a change had to be."""
    quiet = sum(page.unchanged for page in pages)
    rows: list[list[Cell]] = [
        [limit.id, limit.seen, limit.pages, limit.alarms, limit.floor, limit.least_seen, limit.most_unseen]
        for limit in limits(pages)
    ]
    return Table(
        title="What each comparison can see",
        columns=["comparison", "seen", "of pages", "false alarms", "noise floor", "least seen", "most not seen"],
        rows=rows,
        note=f"Changes in the comparison's own unit, without their sign. False alarms are of {quiet} pages on which "
        "nothing changed. Least seen is the smallest change that got into a verdict, most not seen the largest that "
        "did not.",
    )


def size_table(pages: Sequence[Page]) -> Table:
    """A row a kind: the size from which on it was named."""
    kinds = dict.fromkeys(page.plant.kind for page in pages if not page.unchanged)
    rows: list[list[Cell]] = []
    for kind in kinds:
        of_kind = [page for page in pages if page.plant.kind == kind]
        sizes = ", ".join(f"{page.plant.size:g}" for page in of_kind) if of_kind[0].plant.unit else "one"
        rows.append([kind, sizes, of_kind[0].plant.unit, from_size(pages, kind)])
    return Table(
        title="From which size on a change is named",
        columns=["planted", "sizes", "unit", "named from"],
        rows=rows,
        note="Every page from this size on names the change; empty where the largest does not.",
    )


def planted_section(pages: Sequence[Page]) -> Section:
    """All of it, behind the claims."""
    changed = [page for page in pages if not page.unchanged]
    named, quiet = sum(map(is_named, changed)), [page for page in pages if page.unchanged]
    alarms = sum(bool(page.alarms) for page in quiet)
    # In a sentence and in no table: no two runs take the same time.
    seconds = sorted(page.seconds for page in pages)
    return Section(
        id="planted",
        title="What was planted and what was said",
        summary=f"{named} of {len(changed)} pages of a known change name it; {alarms} of {len(quiet)} pages without a "
        f"change have a line. A page took {duration(seconds[0])} to {duration(seconds[-1])}.",
        meaning="Every page compares the model with a copy of which it is known how it differs. A page without a "
        "change must stay empty, and one with a change should say which.",
        caution="One model, one training a tune: a larger model, or another tune of the same name, may be easier or "
        "harder. Several sizes of a tune are one adapter multiplied, and so are not independent.",
        tables=[page_table(pages), size_table(pages), limit_table(pages)],
    )
