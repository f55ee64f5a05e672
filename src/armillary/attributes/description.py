"""Texts described by what can be read off them: a table of shares and means, each with its interval."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armillary.attributes.axes import AXES, SHARE
from armillary.attributes.languages import language_of
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError
from armillary.extras import optional
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean

if TYPE_CHECKING:
    import pandas

COLUMNS = ("axis", "value", "low", "high", "texts", "unit", "meaning")


@dataclass(frozen=True, kw_only=True)
class DescribedAxis:
    """What the texts are like in one respect."""

    axis: str
    value: Interval
    """Share of the texts (exact binomial interval) or mean over texts (bootstrap); ``n`` counts the texts of which the
    axis says something."""

    unit: str
    meaning: str

    def __str__(self) -> str:
        value, percent = self.value, self.unit == SHARE
        numbers = [value.estimate, value.lower, value.upper]
        estimate, low, high = (f"{number:.0%}" if percent else f"{number:.1f}" for number in numbers)
        return f"{self.axis}: {estimate} [{low}, {high}]{'' if percent else f' {self.unit}'}"


@dataclass(frozen=True, kw_only=True)
class Description:
    """Texts by axis, in the order of ``AXES``, then the languages, the commonest first."""

    texts: int
    rows: tuple[DescribedAxis, ...]

    def __getitem__(self, axis: str) -> DescribedAxis:
        """The row of that axis; UsageError names the axes where there is none."""
        for row in self.rows:
            if row.axis == axis:
                return row
        raise UsageError(f"there is no axis {axis!r}; there are {', '.join(row.axis for row in self.rows)}.")

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas data frame with a row an axis and the columns ``COLUMNS``; UsageError where pandas is missing."""
        rows = [
            (row.axis, row.value.estimate, row.value.low, row.value.high, row.value.n, row.unit, row.meaning)
            for row in self.rows
        ]
        frame: pandas.DataFrame = optional("pandas").DataFrame(rows, columns=COLUMNS)
        return frame


def describe(texts: Iterable[str], seed: int = 0, level: float = 0.95) -> Description:
    """What the texts are like on every axis of which they say something, with intervals of this level over texts.

    Shares have exact binomial intervals, means the percentile bootstrap by ``seed``; texts count as independent. Costs
    about 1 ms a text of 300 words. Raises UsageError for no texts, TypeError for one text in place of a list.
    """
    if isinstance(texts, str):
        raise TypeError("describe wants a list of texts; one text alone would be read letter by letter.")
    values: dict[str, list[float]] = {axis.name: [] for axis in AXES}
    languages: Counter[str | None] = Counter()
    count = 0
    for text in texts:
        stats = TextStats(text)
        count += 1
        languages[language_of(text)] += 1
        for axis in AXES:
            value = axis.read(stats)
            if value is not None:
                values[axis.name].append(value)
    if not count:
        raise UsageError("there are no texts to describe; give at least one.")
    rows = [
        DescribedAxis(
            axis=axis.name,
            value=binomial(round(sum(values[axis.name])), len(values[axis.name]), level=level)
            if axis.share
            else bootstrap_mean(values[axis.name], seed=seed, level=level),
            unit=axis.unit,
            meaning=axis.meaning,
        )
        for axis in AXES
        if values[axis.name]
    ]
    unclear = languages.pop(None, 0)
    for language, times in [
        *sorted(languages.items(), key=lambda item: (-item[1], str(item[0]))),
        ("unclear", unclear),
    ]:
        if times:
            meaning = f"Its commonest words or its letters are those of {language}."
            if language == "unclear":
                meaning = "Too few words tell one language from another."
            share = binomial(times, count, level=level)
            rows.append(DescribedAxis(axis=f"language: {language}", value=share, unit=SHARE, meaning=meaning))
    return Description(texts=count, rows=tuple(rows))
