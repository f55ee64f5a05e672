"""The pages of all plants as tables: what each said, what each comparison can and can't see, and what it cost."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from armillary.diff.calibration import CalibrationCard
from armillary.numerics.intervals import binomial
from armillary.records.sections import Cell, Figure, Heatmap, Section, Table
from reproductions.diff_calibration.cards import cards_of
from reproductions.diff_calibration.measures import from_size, is_named, limits, of_null
from reproductions.diff_calibration.nulls import Null, NullPage
from reproductions.diff_calibration.pages import Page
from reproductions.diff_calibration.scale import Scale

CARDS = "cards"
"""Section whose only table has the fields of ``CalibrationCard``; the packaged table is read from it."""

CAP = 4.0
"""In units of its limit a change is drawn up to this: beyond it is seen, by however much."""


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
        [one.id, one.unit, one.seen, one.pages, one.alarms, one.floor, one.limit, one.least_seen, one.most_unseen]
        for one in limits(pages)
    ]
    return Table(
        title="What each comparison can see",
        columns=["comparison", "unit", "seen", "of pages", "false alarms", "noise floor", "said to be seen from",
                 "least seen", "most not seen"],
        rows=rows,
        note=f"Changes in the comparison's own unit, without their sign. False alarms are of {quiet} large pages on "
        "which nothing changed. Said to be seen from: the median of what the pages say, from the width of the "
        "interval and the noise floor. Least seen is the smallest change that got into a verdict, most not seen the "
        "largest that did not: they rest on one page each.",
    )  # fmt: skip


def size_table(pages: Sequence[Page]) -> Table:
    """A row a kind: the size from which on it was named."""
    kinds = dict.fromkeys(page.plant.kind for page in pages if not page.unchanged)
    rows: list[list[Cell]] = []
    for kind in kinds:
        of_kind = [page for page in pages if page.plant.kind == kind]
        sizes = ", ".join(f"{page.plant.size:g}" for page in of_kind) if of_kind[0].plant.unit else "one"
        named = binomial(sum(map(is_named, of_kind)), len(of_kind))
        ends: list[Cell] = [named.low, named.high]
        rows.append([kind, sizes, of_kind[0].plant.unit, from_size(pages, kind), named.estimate, *ends])
    return Table(
        title="From which size on a change is named",
        columns=["planted", "sizes", "unit", "named from", "share named", "low", "high"],
        rows=rows,
        note="Every page from this size on names the change; empty where the largest does not. The intervals are "
        "exact and of few pages; several sizes of a tune are one adapter multiplied.",
    )


def null_table(pages: Sequence[Page], nulls: Sequence[NullPage]) -> Table:
    """A row a null: how much its pages compared, how near they came to a line, how often they had one."""
    kinds: tuple[Null, ...] = ("rounding", "exchanged")
    rows: list[list[Cell]] = []
    for null in kinds:
        ones = of_null(pages, nulls, null)
        share = binomial(sum(bool(one.alarms) for one in ones), len(ones))
        least = np.quantile([one.least for one in ones], [0.05, 0.25, 0.5]).tolist()
        bare = [p for one in ones for p in one.bare]
        rows.append(
            [
                null,
                len(ones),
                float(np.median([len(one.ids) for one in ones])),
                sum(bool(one.alarms) for one in ones),
                share.low,
                share.high,
                *least,
                sum(one.least >= 1 for one in ones),
                sum(bool(one.bare_alarms) for one in ones),
                float(np.mean(np.array(bare) <= 0.05)) if bare else None,
            ]
        )
    return Table(
        title="Pages without a change",
        columns=["null", "pages", "comparisons", "with a line", "low", "high", "least p: 5 %", "25 %", "median",
                 "all p are 1", "with a line, no floor", "p up to 0.05, no floor"],
        rows=rows,
        note="Least p: quantiles over pages of a page's smallest corrected p. No floor: the same tests of the same "
        "numbers as if nothing were noise, with the correction (pages) and without (share of comparisons, 0.05 where "
        "the test is exact). Divergences, which have no sign, have no part in what is without a floor, and none in "
        "exchanged pages; neither have weights and blocks in any.",
    )  # fmt: skip


def lines_figure(pages: Sequence[Page]) -> Figure:
    """Rows plants, columns instruments: how many lines."""
    names = [*dict.fromkeys(one.instrument for page in pages for one in page.comparisons)]
    values: list[list[float | None]] = [
        [float(sum(id.partition("/")[0] == name for id in page.verdict)) for name in names] for page in pages
    ]
    with_lines = sum(any(row) for row in values)
    return Figure(
        title="Comparisons in the verdict, by plant and instrument",
        data=Heatmap(
            rows=[page.plant.name for page in pages], columns=[*names], values=values, low=0.0, unit="comparisons"
        ),
        alt=f"{with_lines} of {len(pages)} plants have any comparison in the verdict.",
        interactive=True,
    )


def size_figure(pages: Sequence[Page]) -> Figure:
    """Rows plants, columns instruments: the largest change of any comparison, in units of its limit."""
    names = [*dict.fromkeys(one.instrument for page in pages for one in page.comparisons)]

    def largest(page: Page, name: str) -> float | None:
        ratios = [
            min(CAP, abs(one.change) / one.limit) for one in page.comparisons if one.instrument == name and one.limit
        ]
        return max(ratios, default=None)

    values = [[largest(page, name) for name in names] for page in pages]
    beyond = sum(value is not None and value >= 1 for row in values for value in row)
    return Figure(
        title="Largest change of an instrument, in units of its limit of detection",
        data=Heatmap(
            rows=[page.plant.name for page in pages],
            columns=[*names],
            values=values,
            low=0.0,
            high=CAP,
            unit="of the limit",
        ),
        alt=f"{beyond} of {len(pages) * len(names)} are beyond the size from which a change is said to be seen.",
        interactive=True,
    )


def cost_table(pages: Sequence[Page]) -> Table:
    """A row a page: seconds of its phases and of each instrument, and its memory."""
    phases = [*dict.fromkeys(name for page in pages for name in page.phases)]
    instruments = [*dict.fromkeys(name for page in pages for name in page.costs)]
    rows: list[list[Cell]] = [
        [
            page.plant.name,
            page.peak_gib,
            page.seconds,
            *(page.phases.get(name) for name in phases),
            *(page.costs.get(name) for name in instruments),
        ]
        for page in pages
    ]
    return Table(
        title="What each page cost",
        columns=["planted", "peak, GiB", "page, s", *(f"{name}, s" for name in phases),
                 *(f"{name} alone, s" for name in instruments)],
        rows=rows,
        note="Wall time of one core of a machine that did other work besides, so an upper bound. Base's phase was run "
        "on the first page and read back on the others. No two runs take the same time.",
    )  # fmt: skip


def card_rows(cards: Sequence[CalibrationCard], scale: Scale) -> Table:
    """A column a field of the cards; the note says how large the pages were."""
    names = [field.name for field in fields(CalibrationCard)]
    rows: list[list[Cell]] = [
        [", ".join(value) if isinstance(value := getattr(card, name), list) else value for name in names]
        for card in cards
    ]
    return Table(title="Cards", columns=names, rows=rows, note=page_size(scale))


def calibration_sections(pages: Sequence[Page], nulls: Sequence[NullPage], scale: Scale) -> list[Section]:
    """All of it, behind the claims."""
    changed = [page for page in pages if not page.unchanged]
    named = sum(map(is_named, changed))
    rounding, exchanged = of_null(pages, nulls, "rounding"), of_null(pages, nulls, "exchanged")
    cards = cards_of(pages, nulls)
    peaks = [page.peak_gib for page in pages if page.peak_gib is not None]
    nothing = (
        f"{sum(bool(one.alarms) for one in rounding)} of {len(rounding)} pages of rounding and "
        f"{sum(bool(one.alarms) for one in exchanged)} of {len(exchanged)} pages of exchanged numbers have a line."
    )
    return [
        Section(
            id="planted",
            title="What was planted and what was said",
            summary=f"{named} of {len(changed)} pages of a known change name it. {nothing}",
            meaning="Every page compares the model with a copy of which it is known how it differs. A page without a "
            "change must stay empty, and one with a change should say which.",
            caution="One model, one training a tune: a larger model, or another tune of the same name, may be easier "
            "or harder. Several sizes of a tune are one adapter multiplied, and so are not independent.",
            figures=[lines_figure(pages), size_figure(pages)],
            tables=[page_table(pages), size_table(pages), limit_table(pages)],
        ),
        Section(
            id="nulls",
            title="Pages without a change",
            summary=nothing,
            meaning="Rounding: the model beside itself with its neurons in another order, computed in bfloat16, with "
            "prompts, questions and texts drawn anew for each page. Exchanged: what two models said that do differ, "
            "exchanged between them at random, so that the differences are large and their true mean is 0.",
            caution="Pages of rounding are smaller than those of a user. Their smallest corrected p is mostly 1, "
            "since a noise floor stands before the test: they tell how often a page is wrong and little of the test, "
            "which the exchanged pages are for.",
            tables=[null_table(pages, nulls)],
        ),
        Section(
            id=CARDS,
            title="The card of each instrument",
            summary=f"Each of {len(cards)} instruments on pages with and without a change.",
            meaning="What every page of a diff tells of its instruments stands here.",
            caution="Measured on one model with few prompts; a larger budget has lower limits.",
            tables=[card_rows(cards, scale)],
        ),
        Section(
            id="cost",
            title="What it cost",
            summary=f"A page had at most {max(peaks):.2f} GiB in use." if peaks else "Memory was not told.",
            meaning="Seconds of each phase, and of each instrument beyond what the phases take anyway.",
            caution="Memory counts all of the process, with what the calibration itself holds.",
            tables=[cost_table(pages)],
        ),
    ]


def page_size(scale: Scale) -> str:
    """How large the pages were, for the cards."""
    answers = f"answers of {scale.answer_tokens} tokens"
    return f"budget {scale.budget}, {scale.prompts} prompts, {answers}, {scale.texts} texts"
