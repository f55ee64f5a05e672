"""What a reader is told of checked responses: sections, figures, findings and measures, from the counts alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from armillary.methods.ultragen.corpus.tally import FIFTHS, Pairs, Tally, WorstResponse, mean_rate, pooled_rate
from armillary.numerics.intervals import Interval, binomial
from armillary.records.sections import (
    Bars,
    Cell,
    Figure,
    Finding,
    Heatmap,
    Lines,
    MarkedNote,
    MarkedText,
    MarkedTexts,
    Section,
    Series,
    Table,
    marked_pieces,
)

LEAST = 5
"""Verdicts of which a cell of the heat map, and responses of which a point of a curve tells a share; of fewer it would
tell chance."""

MOST_MARKED = 0.4
"""Share of a response beyond which the marks of one attribute say only that it fails: it stands below the text."""

GROUPS = 10
"""Points of the curve against the number of attributes at most: neighbouring numbers are taken together."""


@dataclass(frozen=True, kw_only=True)
class CheckPage:
    """The parts of a record of checked responses."""

    title: str
    measures: dict[str, Interval]
    findings: list[Finding]
    sections: list[Section]


def check_page(tally: Tally, name: str, seed: int) -> CheckPage:
    """The page of the responses in the file ``name``. ``tally`` must have counted at least one."""
    kinds = {kind: _known(pooled_rate(pairs, seed)) for kind, pairs in sorted(tally.by_kind.items())}
    rates = _Rates(
        all=_known(mean_rate(tally.all, seed)),
        hard=mean_rate(tally.hard, seed),
        soft=mean_rate(tally.soft, seed),
        asking=mean_rate(tally.asking, seed),
        joint=binomial(tally.all_met, tally.responses),
        kinds=dict(sorted(kinds.items(), key=lambda item: item[1].estimate)),
        fifths={int(fifth): _known(pooled_rate(pairs, seed)) for fifth, pairs in tally.by_fifth.items()},
    )
    sections = [_kinds(tally, rates), _positions(tally, rates)]
    sections.append(_numbers(tally, seed) or _at_once(tally))
    if tally.worst:
        sections.append(_worst(tally.worst))
    measures = {"CSR": rates.all, "all attributes met": rates.joint}
    named = {"CSR hard": rates.hard, "CSR soft": rates.soft, "CSR of what asks": rates.asking}
    measures |= {key: rate for key, rate in named.items() if rate is not None}
    measures |= {f"met/{_words(kind)}": rate for kind, rate in rates.kinds.items()}
    return CheckPage(
        title=f"{tally.responses:,} {'response' if tally.responses == 1 else 'responses'} of {name}, checked",
        measures=measures,
        findings=_findings(tally, rates),
        sections=sections,
    )


@dataclass(frozen=True, kw_only=True)
class _Rates:
    """Shares that several parts of the page tell."""

    all: Interval
    hard: Interval | None
    soft: Interval | None
    asking: Interval | None
    joint: Interval
    kinds: dict[str, Interval]
    """The least first."""

    fifths: dict[int, Interval]


def _known(interval: Interval | None) -> Interval:
    if interval is None:
        raise ValueError("Nothing was judged, so that there is nothing to tell.")
    return interval


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _percent(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.0%}"
    return f"{interval.estimate:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _verdicts(pairs: Mapping[str, int]) -> int:
    return sum(int(pair.split("/")[1]) * times for pair, times in pairs.items())


def _findings(tally: Tally, rates: _Rates) -> list[Finding]:
    findings = [
        Finding(
            text=f"A response meets {_percent(rates.all)} of its attributes on average, and "
            f"{tally.all_met:,} of {tally.responses:,} meet all of theirs.",
            interest=1.0, section="kinds", basis=rates.all.how,
        )
    ]  # fmt: skip
    frequent = {kind: rate for kind, rate in rates.kinds.items() if _verdicts(tally.by_kind[kind]) >= LEAST}
    if len(frequent) >= 4:
        kinds = list(frequent)
        worst, best = (
            [f"{_words(kind)} ({_percent(frequent[kind])})" for kind in some] for some in (kinds[:3], kinds[:-4:-1])
        )
        findings.append(
            Finding(
                text=f"Most often missed: {', '.join(worst)}. Most often met: {', '.join(best)}.", interest=0.8,
                section="kinds", basis="bootstrap over responses, each kind by itself",
            )
        )  # fmt: skip
    first, last = rates.fifths.get(0), rates.fifths.get(FIFTHS - 1)
    if first is not None and last is not None:
        apart = first.lower > last.upper or last.lower > first.upper
        turn = "more often" if first.estimate > last.estimate else "less often"
        text = f"Attributes in the first fifth of the list are met {turn} than those in the last fifth"
        text = text if apart else "The first and the last fifth of the list are met about as often"
        findings.append(
            Finding(text=f"{text}: {_percent(first)} against {_percent(last)}.", interest=0.6 if apart else 0.3,
                    section="positions", basis=first.how)
        )  # fmt: skip
    if rates.asking is not None and rates.hard is not None and rates.asking.estimate < rates.hard.estimate:
        findings.append(
            Finding(
                text="Without attributes that an empty text would meet (a word or a sign left out), "
                f"{_percent(rates.asking)} of the hard attributes are met, with them {_percent(rates.hard)}.",
                interest=0.5, section="kinds", basis=rates.asking.how,
            )
        )  # fmt: skip
    uncounted = _uncounted(tally)
    if uncounted:
        findings.append(Finding(text=uncounted, interest=0.4, section="kinds"))
    return findings


def _uncounted(tally: Tally) -> str:
    """What is in no share: verdicts that nobody gave, answers of the judge that nobody could read."""
    parts = []
    if n := tally.unjudged:
        verb = "attribute was" if n == 1 else "attributes were"
        parts.append(f"{n:,} {verb} not judged (soft without a judge, or of another language)")
    if n := tally.unparsed:
        parts.append(f"{n:,} {'answer' if n == 1 else 'answers'} of the judge could not be read")
    if n := tally.empty:
        parts.append(f"{n:,} {'response is empty and meets' if n == 1 else 'responses are empty and meet'} nothing")
    if n := tally.imported:
        verb = "sentence is of no known kind and counts" if n == 1 else "sentences are of no known kind and count"
        parts.append(f"{n:,} {verb} as soft")
    if n := tally.skipped:
        parts.append(f"{n:,} {'instruction' if n == 1 else 'instructions'} of no known kind passed over")
    if n := tally.left_out:
        parts.append(f"{n:,} {'response' if n == 1 else 'responses'} left out, with no other instructions")
    return f"{'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}." if parts else ""


def _kinds(tally: Tally, rates: _Rates) -> Section:
    bars = Bars(
        labels=[_words(kind) for kind in rates.kinds],
        values=[rate.estimate for rate in rates.kinds.values()],
        low=[rate.low for rate in rates.kinds.values()],
        high=[rate.high for rate in rates.kinds.values()],
        x_label="share met",
    )
    rows: list[list[Cell]] = [
        [_words(kind), _verdicts(tally.by_kind[kind]), rate.n, rate.estimate, rate.low, rate.high]
        for kind, rate in rates.kinds.items()
    ]
    parts = [f"hard attributes {_percent(rates.hard)}"] if rates.hard else []
    parts += [f"soft ones {_percent(rates.soft)}"] if rates.soft else []
    return Section(
        id="kinds",
        title="Which attributes are met",
        summary=f"On average {_percent(rates.all)} of a response's attributes are met"
        + (f" ({', '.join(parts)})" if len(parts) > 1 else "")
        + f"; {_percent(rates.joint)} of the responses meet all. {_uncounted(tally)}".rstrip(),
        meaning="A bar for each kind of attribute: the share of its verdicts that are positive, all responses "
        "together. A hard attribute is checked by a program on the response as it is; a soft one by a judge.",
        caution="Kinds ask for different things and were given with different lists, so that a low bar may mean a "
        "hard kind or hard parameters. What forbids something is met by saying little: compare it with what asks for "
        "something. Texts that only string keywords together score well here; look at the responses, too.",
        figures=[
            Figure(
                title="Share met by kind",
                data=bars,
                alt="Bars: " + ", ".join(f"{_words(kind)} {rate.estimate:.2f}" for kind, rate in rates.kinds.items())
                + ".",
            )
        ],
        tables=[
            Table(
                title="Kinds of attribute",
                columns=["kind", "verdicts", "responses", "share met", "low", "high"],
                rows=rows,
                note="95 % intervals by bootstrap over responses; exact binomial where all responses are alike.",
            )
        ],
    )  # fmt: skip


def _positions(tally: Tally, rates: _Rates) -> Section:
    counts = {kind: [tally.cells.get(f"{kind}/{fifth}", [0, 0]) for fifth in range(FIFTHS)] for kind in rates.kinds}
    # A kind that is too rare for any cell would be an empty row.
    cells = {kind: row for kind, row in counts.items() if any(judged >= LEAST for _, judged in row)}
    heatmap = Heatmap(
        rows=[_words(kind) for kind in cells],
        columns=list(range(1, FIFTHS + 1)),
        values=[[met / judged if judged >= LEAST else None for met, judged in row] for row in cells.values()],
        low=0.0,
        high=1.0,
        unit="share met, by fifth of the list",
    )
    order = sorted(rates.fifths)
    curve = Lines(
        x=[fifth + 1 for fifth in order],
        series=[
            Series(
                name="share met",
                y=[rates.fifths[fifth].estimate for fifth in order],
                low=[rates.fifths[fifth].low for fifth in order],
                high=[rates.fifths[fifth].high for fifth in order],
            )
        ],
        x_label="fifth of the list in which the attribute stands",
        y_label="share met",
    )
    estimates = [rates.fifths[fifth].estimate for fifth in order]
    # The name of a fifth is its number: 1 holds the attributes that are read first.
    highest, lowest = (order[estimates.index(pick(estimates))] for pick in (max, min))
    return Section(
        id="positions",
        title="Where in the list they stand",
        summary=f"The share met lies between {_percent(rates.fifths[lowest])} (fifth {lowest + 1} of the list) and "
        f"{_percent(rates.fifths[highest])} (fifth {highest + 1}).",
        meaning="The list of attributes of each prompt is cut into five parts of equal length. The heat map shows for "
        "each kind, most often missed first, how often it is met where it stands in that part; the curve shows all "
        "kinds together.",
        caution=f"A cell tells a share of at least {LEAST} verdicts, else it is left empty; of so few the share is "
        "rough. Where lists are not shuffled a position stands for its kinds, and the curve says little: compare "
        "along a row.",
        figures=[
            Figure(
                title="Kind against position",
                data=heatmap,
                alt="Heat map: share met for each kind of attribute (rows) and each fifth of the list (columns).",
                interactive=True,
            ),
            Figure(
                title="All kinds together",
                data=curve,
                alt="Line: share met by fifth of the list, "
                + ", ".join(f"{rates.fifths[fifth].estimate:.2f}" for fifth in order) + ".",
            ),
        ],
    )  # fmt: skip


def _numbers(tally: Tally, seed: int) -> Section | None:
    """The curve against the number of attributes; None where nearly all lists are of one length."""
    groups = _grouped({int(number): pairs for number, pairs in tally.by_number.items() if pairs})
    # A point that stands on one response or two would bend the curve by chance.
    groups = {label: pairs for label, pairs in groups.items() if sum(pairs.values()) >= LEAST}
    if len(groups) < 2:
        return None
    rates = {label: _known(mean_rate(pairs, seed)) for label, pairs in groups.items()}
    labels = list(rates)
    first, last = rates[labels[0]], rates[labels[-1]]
    return Section(
        id="numbers",
        title="More attributes at once",
        summary=f"With {labels[0]} attributes {_percent(first)} are met, with {labels[-1]} {_percent(last)}.",
        meaning="Responses are put together by how many attributes their list has; shown is the mean of the share "
        "that each meets, with its 95 % interval over responses.",
        caution="Lists of different lengths come from different prompts, and longer lists hold other kinds. Only "
        "lists of which the longer hold the shorter would show what the number alone does.",
        figures=[
            Figure(
                title="CSR against the number of attributes",
                data=Lines(
                    x=[int(label) if label.isdigit() else label for label in labels],
                    series=[
                        Series(
                            name="share met",
                            y=[rate.estimate for rate in rates.values()],
                            low=[rate.low for rate in rates.values()],
                            high=[rate.high for rate in rates.values()],
                        )
                    ],
                    x_label="attributes in the list",
                    y_label="share met",
                ),
                alt="Line: " + ", ".join(f"{label}: {rate.estimate:.2f}" for label, rate in rates.items()) + ".",
            )
        ],
        tables=[
            Table(
                title="By the number of attributes",
                columns=["attributes", "responses", "share met", "low", "high"],
                rows=[[label, rate.n, rate.estimate, rate.low, rate.high] for label, rate in rates.items()],
            )
        ],
    )


def _at_once(tally: Tally) -> Section:
    """How many attributes of a list are met together, for lists of the commonest length."""
    number = max(tally.by_number, key=lambda name: sum(tally.by_number[name].values()))
    pairs = tally.by_number[number]
    others = tally.responses - sum(pairs.values())
    apart = f" {others:,} with lists of other lengths {'is' if others == 1 else 'are'} left out." if others else ""
    met = Counter[int]()
    for pair, times in pairs.items():
        met[int(pair.split("/")[0])] += times
    least = list(range(min(met), max(max(met), min(met) + 1) + 1))
    reached = [sum(times for count, times in met.items() if count >= k) for k in least]
    shares = [binomial(times, met.total()) for times in reached]
    median = max(k for k, times in zip(least, reached, strict=True) if 2 * times >= met.total())
    return Section(
        id="numbers",
        title="How many at once",
        summary=f"Of {number} attributes half of the responses meet {median} or more, the best one {max(met)}.",
        meaning=f"The lists are of one length, so that no curve against it can be drawn.{apart} Shown is the share of "
        "the responses that meet at least so many of their attributes.",
        caution="Two responses that meet as many may meet quite different ones: some kinds are met by any text.",
        figures=[
            Figure(
                title="Attributes that are met together",
                data=Lines(
                    x=[*least],
                    series=[
                        Series(
                            name="share of responses",
                            y=[share.estimate for share in shares],
                            low=[share.low for share in shares],
                            high=[share.high for share in shares],
                        )
                    ],
                    x_label=f"attributes met, of {number}, at least",
                    y_label="share of responses",
                ),
                alt=f"Falling line: share of responses that meet at least {least[0]} to {least[-1]} of {number}.",
            )
        ],
    )


def _grouped(by_number: Mapping[int, Pairs]) -> dict[str, Pairs]:
    """At most ``GROUPS`` groups of neighbouring numbers with about as many responses each; their names "40-42"."""
    numbers = sorted(by_number)
    total = sum(sum(pairs.values()) for pairs in by_number.values())
    groups: dict[str, Pairs] = {}
    members: list[int] = []
    seen = held = 0
    for place, number in enumerate(numbers):
        members.append(number)
        held += sum(by_number[number].values())
        left = len(numbers) - place - 1
        # A group closes where its share is full, and where each number left may have a group of its own.
        if seen + held >= total * (len(groups) + 1) / GROUPS or left < GROUPS - len(groups) or not left:
            name = str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}"
            merged: Pairs = {}
            for member in members:
                for pair, times in by_number[member].items():
                    merged[pair] = merged.get(pair, 0) + times
            groups[name] = merged
            members, seen, held = [], seen + held, 0
    return groups


def _worst(worst: list[WorstResponse]) -> Section:
    rows = []
    for response in worst:
        most = MOST_MARKED * len(response.response)
        marks = [
            (start, end, index)
            for index, failed in enumerate(response.failed)
            if sum(end - start for start, end in failed.spans) <= most
            for start, end in failed.spans
            if start <= end <= len(response.response)
        ]
        rows.append(
            MarkedText(
                title=f"{response.satisfied} of {response.judged} met: {response.where}",
                pieces=marked_pieces(response.response, marks),
                notes=[MarkedNote(text=failed.text, detail=failed.measured) for failed in response.failed],
                prompt=response.prompt,
            )
        )
    return Section(
        id="worst",
        title="The worst responses",
        summary=f"The {len(worst)} responses that meet the smallest share of their attributes, and where in the text "
        "they fail.",
        meaning="Each mark bears the number of an attribute that is not met, at the words that break it or at what "
        "was counted. What is missing altogether has no place in the text; it stands below with what was seen "
        "instead.",
        caution="These are the extremes: they show how it goes wrong, not how often.",
        figures=[
            Figure(
                title="Failed attributes in the text",
                data=MarkedTexts(rows=rows),
                alt="Responses with numbered marks where an attribute fails, and the failed attributes below.",
            )
        ],
    )
