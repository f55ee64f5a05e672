"""What a reader is told of checked chains: shares with intervals, models against each other, and chains with marks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from armillary.methods.ocean.chains.reading import WrittenChain
from armillary.methods.ocean.policy.answers import is_right
from armillary.numerics.intervals import Interval, bootstrap_mean, bootstrap_weighted, paired_difference
from armillary.records.sections import (
    Cell,
    Figure,
    Finding,
    MarkedNote,
    MarkedText,
    MarkedTexts,
    Section,
    Table,
    interval_bars,
    marked_pieces,
)

DECIDED = "supported of decided"
"""The measure that --fail-below looks at."""


@dataclass(frozen=True, kw_only=True)
class CheckedStep:
    """One step with its verdict, by a graph or by passages."""

    step: str
    verdict: str
    """"supported", the mode's word for the opposite, or "unknown"."""

    reason: str
    marks: tuple[tuple[int, int], ...]
    """Characters of the entities or figures that the verdict rests on."""


@dataclass(frozen=True, kw_only=True)
class CheckedChain:
    """One chain with its verdicts."""

    chain: WrittenChain
    steps: tuple[CheckedStep, ...]

    def count(self, verdict: str) -> int:
        """Steps of this verdict."""
        return sum(step.verdict == verdict for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class PageWords:
    """What differs between a page of a graph and one of passages."""

    against: str
    """"contradicted" or "unsupported"."""

    source: str
    """The graph or the passages, by name."""

    meaning: str
    caution: str
    notes: tuple[str, ...] = ()
    """Sentences on what was linked."""


@dataclass(frozen=True, kw_only=True)
class CheckedPage:
    """The parts of a record of checked chains."""

    title: str
    measures: dict[str, Interval]
    findings: list[Finding]
    sections: list[Section]


Score = Callable[[CheckedChain], float]


def checked_page(
    checked: Sequence[CheckedChain], name: str, words: PageWords, *, worst: int = 8, seed: int = 0
) -> CheckedPage:
    """The page of the chains in the file ``name``, at least one. Intervals are over prompts: of several chains of a
    model to one prompt the mean counts."""
    models = dict.fromkeys(one.chain.model for one in checked)
    scores = _scores(words, checked)
    tables = {model: [one for one in checked if one.chain.model == model] for model in models}
    shares: dict[str, dict[str, Interval]] = {model: {} for model in models}
    for model, own in tables.items():
        for label, score in scores.items():
            values = [*_by_prompt(own, score).values()]
            how = f"percentile bootstrap over {len(values):,} prompts"
            shares[model][label] = bootstrap_mean(values, seed=seed, how=how)
    measures: dict[str, Interval] = {}
    for model, own in tables.items():
        lead = f"{model}/" if model else ""
        measures |= {f"{lead}{label}": value for label, value in shares[model].items()}
        if (decided := _decided(own, words, seed)) is not None:
            measures[f"{lead}{DECIDED}"] = decided
    if len(models) > 1 and (everything := _decided(checked, words, seed)) is not None:
        measures[DECIDED] = everything
    sections = [_shares(checked, words, shares, measures)]
    pairs = _pairs(tables, scores, seed)
    if pairs:
        measures |= {f"{a} - {b}/{label}": value for (a, b), rows in pairs.items() for label, value in rows.items()}
        sections.append(_models(pairs, words))
    sections.append(_reasons(checked, words))
    sections += _shown(checked, words, worst)
    steps = sum(len(one.steps) for one in checked)
    return CheckedPage(
        title=f"{len(checked):,} {'chain' if len(checked) == 1 else 'chains'} of {name} against {words.source}",
        measures=measures,
        findings=_findings(checked, words, measures, pairs, steps),
        sections=sections,
    )


def _scores(words: PageWords, checked: Sequence[CheckedChain]) -> dict[str, Score]:
    scores: dict[str, Score] = {
        "supported": lambda one: one.count("supported") / len(one.steps),
        words.against: lambda one: one.count(words.against) / len(one.steps),
        "unknown": lambda one: one.count("unknown") / len(one.steps),
        f"chains with none {words.against}": lambda one: float(not one.count(words.against)),
    }
    if all(one.chain.answers for one in checked):
        scores["right answer named"] = lambda one: float(is_right(" ".join(one.chain.steps), one.chain.answers))
    return scores


def _by_prompt(checked: Sequence[CheckedChain], score: Score) -> dict[str, float]:
    """The mean score of the chains of each prompt."""
    values = defaultdict(list)
    for one in checked:
        values[one.chain.prompt].append(score(one))
    return {prompt: float(np.mean(own)) for prompt, own in values.items()}


def _decided(checked: Sequence[CheckedChain], words: PageWords, seed: int) -> Interval | None:
    """Supported steps over those that are decided, all steps together; None where too few prompts have any."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in checked:
        counts[one.chain.prompt][0] += one.count("supported")
        counts[one.chain.prompt][1] += one.count("supported") + one.count(words.against)
    table_N2 = np.array([pair for pair in counts.values() if pair[1]], np.float64)
    if not len(table_N2):
        return None
    return bootstrap_weighted(
        lambda counts_RN: (counts_RN @ table_N2[:, 0]) / (counts_RN @ table_N2[:, 1]), len(table_N2), seed=seed,
        how=f"percentile bootstrap over {len(table_N2):,} prompts with a decided step",
    )  # fmt: skip


Pairs = Mapping[tuple[str, str], Mapping[str, Interval]]


def _pairs(tables: Mapping[str, Sequence[CheckedChain]], scores: Mapping[str, Score], seed: int) -> Pairs:
    """For two models each the difference of every score over the prompts that both have; two prompts at least."""
    pairs = {}
    for a, b in combinations(tables, 2):
        differences = {}
        for label, score in scores.items():
            left, right = _by_prompt(tables[a], score), _by_prompt(tables[b], score)
            both = [prompt for prompt in left if prompt in right]
            if len(both) > 1:
                differences[label] = paired_difference(
                    [left[prompt] for prompt in both], [right[prompt] for prompt in both], seed=seed,
                    how=f"paired bootstrap over {len(both):,} prompts",
                )  # fmt: skip
        if differences:
            pairs[a, b] = differences
    return pairs


def _percent(value: Interval) -> str:
    if value.low is None or value.high is None:
        return f"{value.estimate:.0%}"
    return f"{value.estimate:.0%} [{value.low:.0%}, {value.high:.0%}]"


def _findings(
    checked: Sequence[CheckedChain], words: PageWords, measures: Mapping[str, Interval], pairs: Pairs, steps: int
) -> list[Finding]:
    counts = Counter(step.verdict for one in checked for step in one.steps)
    findings = [
        Finding(
            text=f"By {words.source} {counts['supported']:,} of {steps:,} steps are supported, "
            f"{counts[words.against]:,} {words.against} and {counts['unknown']:,} unknown.",
            interest=1.0, section="verdicts",
        )
    ]  # fmt: skip
    for key, value in measures.items():
        if key.rpartition("/")[2] == DECIDED:
            who = key.rpartition("/")[0]
            text = f"{who + ': of' if who else 'Of'} the decided steps {_percent(value)} are supported."
            findings.append(Finding(text=text, interest=0.8 if who else 0.7, section="verdicts", basis=value.how))
    for (a, b), rows in pairs.items():
        value = rows["supported"]
        if value.excludes(0):
            more, less = (a, b) if value.estimate > 0 else (b, a)
            text = f"{more} has more of its steps supported than {less}, by {abs(value.estimate):.0%} of them."
        else:
            text = f"{a} and {b} can't be told apart by their share of supported steps."
        findings.append(Finding(text=text, interest=0.9, section="models", basis=value.how))
    return findings


def _shares(
    checked: Sequence[CheckedChain],
    words: PageWords,
    shares: Mapping[str, Mapping[str, Interval]],
    measures: Mapping[str, Interval],
) -> Section:
    rows: list[list[Cell]] = []
    for model, own in shares.items():
        values = dict(own)
        if (decided := measures.get(f"{model}/{DECIDED}" if model else DECIDED)) is not None:
            values[DECIDED] = decided
        rows += [
            [model or "all chains", label, value.n, value.estimate, value.low, value.high]
            for label, value in values.items()
        ]
    several = len(shares) > 1
    bars = {
        f"{label}: {model}" if several else label: own[label]
        for label in ("supported", words.against, "unknown")
        for model, own in shares.items()
    }
    rules = Counter(one.chain.rule for one in checked)
    rule_words = {
        "given": "steps as given",
        "numbered": "steps by numbers or marks of a list",
        "sentences": "a sentence a step",
    }
    cut = "; ".join(f"{count:,} with {rule_words[rule]}" for rule, count in rules.most_common())
    first = next(iter(shares.values()))
    return Section(
        id="verdicts",
        title="Which steps hold",
        summary=f"A chain has {_percent(first['supported'])} of its steps supported and "
        f"{_percent(first[words.against])} {words.against}" + (f" ({next(iter(shares))})." if several else "."),
        meaning=f"{words.meaning} Chains: {cut}.",
        caution=" ".join([words.caution, *words.notes]),
        figures=[interval_bars("Share of a chain's steps", bars, "mean over prompts")],
        tables=[
            Table(
                title="Shares",
                columns=["model", "share", "prompts", "mean", "low", "high"],
                rows=rows,
                note=f"95 % intervals by bootstrap over prompts. {DECIDED}: supported steps over those that are "
                f"supported or {words.against}, all together.",
            )
        ],
    )  # fmt: skip


def _models(pairs: Pairs, words: PageWords) -> Section:
    rows: list[list[Cell]] = [
        [a, b, label, value.n, value.estimate, value.low, value.high, "yes" if value.excludes(0) else "no"]
        for (a, b), own in pairs.items()
        for label, value in own.items()
    ]
    apart = sum(row[-1] == "yes" for row in rows)
    return Section(
        id="models",
        title="Models against each other",
        summary=f"{apart} of {len(rows)} differences have an interval that leaves out 0.",
        meaning="The first model's mean minus the second's, over the prompts that both answered; the same prompts are "
        "drawn for both in each replicate.",
        caution="Each interval is by itself: of twenty comparisons of equals one leaves out 0 by chance. A model that "
        f"says less is {words.against} less; read the shares of supported and unknown steps beside it.",
        tables=[
            Table(
                title="Paired differences",
                columns=["first", "second", "share", "prompts", "difference", "low", "high", "apart"],
                rows=rows,
            )
        ],
    )


def _reasons(checked: Sequence[CheckedChain], words: PageWords) -> Section:
    reasons = [step.reason for one in checked for step in one.steps if step.verdict == "unknown"]
    # Without the names in it.
    counts = Counter("the graph may lack this tail" if text.startswith("of ") else text for text in reasons)
    total = counts.total()
    rows: list[list[Cell]] = [[reason, count, count / total] for reason, count in counts.most_common(12)]
    return Section(
        id="unknown",
        title="Why steps are unknown",
        summary=f"{total:,} steps are unknown" + (f", most often because {rows[0][0]}." if rows else "."),
        meaning="Each step without a verdict, by the first reason that applies.",
        caution=f"Unknown is no fault of the step: {words.source} may not hold the fact, the name, or the words.",
        tables=[Table(title="Reasons", columns=["reason", "steps", "share"], rows=rows)],
        folded=True,
    )


def _shown(checked: Sequence[CheckedChain], words: PageWords, most: int) -> list[Section]:
    """The worst chains, and one chosen chain for each kind of verdict."""
    against = [one for one in checked if one.count(words.against)]
    against.sort(key=lambda one: (-one.count(words.against), one.count("supported")))
    sections = []
    if against and most:
        sections.append(
            Section(
                id="worst",
                title="The worst chains",
                summary=f"The {min(most, len(against))} chains with most steps {words.against}, of {len(against):,} "
                "that have any.",
                meaning="Marked is what was found of the step's names and figures; the note of the same number has "
                "the verdict on the step and its reason.",
                caution="These are the extremes: they show how it goes wrong, not how often.",
                figures=[_marked("Worst chains", against[:most])],
            )
        )
    chosen: dict[int, CheckedChain] = {}
    for verdict in ("supported", words.against, "unknown"):
        fitting = [one for one in checked if one.count(verdict) and id(one) not in map(id, against[:most])]
        # The one with most of its steps alike shows the verdict most plainly; of equal ones the first.
        fitting.sort(key=lambda one: -one.count(verdict) / len(one.steps))
        for one in fitting[:2]:
            chosen[id(one)] = one
    if chosen:
        sections.append(
            Section(
                id="examples",
                title="Chosen chains",
                summary=f"{len(chosen)} chains in which a verdict shows most plainly, up to two for each.",
                meaning="Marks and notes as among the worst chains.",
                caution="They are chosen for plainness and stand for nothing in number.",
                figures=[_marked("Chosen chains", [*chosen.values()])],
            )
        )
    return sections


def _marked(title: str, chains: Sequence[CheckedChain]) -> Figure:
    rows = []
    for one in chains:
        text, marks, notes = "", [], []
        for number, step in enumerate(one.steps):
            text += "\n" if text else ""
            marks += [(len(text) + start, len(text) + end, number) for start, end in step.marks]
            text += step.step
            notes.append(MarkedNote(text=f"Step {number + 1} is {step.verdict}", detail=step.reason))
        title_of_row = f"{one.chain.where.partition(' of ')[0]}{', ' + one.chain.model if one.chain.model else ''}"
        prompt = one.chain.prompt
        if one.chain.answers:
            prompt += f"\n(right: {', '.join(one.chain.answers[:5])})"
        rows.append(MarkedText(title=title_of_row, pieces=marked_pieces(text, marks), notes=notes, prompt=prompt))
    return Figure(
        title=title,
        data=MarkedTexts(rows=rows),
        alt="Chains with numbered marks at the names that each step's verdict rests on, and the verdicts below.",
    )
