"""How often ``ocean check`` is right on the greedy chains, and what it misses: verdicts against labels of every step.

    python -m examples.ocean_chains.judge

``labels.jsonl`` was made by reading, without the verdicts or the links in view: the sheet had the question, its gold
answers (as chains.jsonl.gz has them) and the steps. It was committed before the checker was run on it, and no label
was changed after. A step is labelled by what is true of the world:

- ``true``: it states a capital, a country or continent in which something lies, an official language, a currency or a
  border between countries, and all of these are true; ``false``: one of them is not; ``none``: it states none of them
  (an instruction, half a sentence, an ocean or sea, a number, another relation).
- A part of a continent that bears its name (West Africa) or its adjective (European) states the continent; where
  within a country or continent something lies is not judged, nor whether it is a city or a state.
- "The official language is X" is true where X is one of them. "The capital of the country of X" is read as that of the
  country in which X lies. A misspelt or invented name (Maje, Kinyaa) in the place of one makes the statement false.
- "It" and "the country" stand for what the question or an earlier step names.

``names`` has the names of countries and territories, cities, continents, languages and currencies that a step mentions
as such: no adjectives, no names that do not exist, nothing of which the name is only a part (South China Sea). Of West
Africa the name is Africa.

The second label of each step is that of ``rules.py``. Shares have 95 % intervals over chains. The figures go to
judged.json, of which ``python -m tools.docs_tables`` makes the tables of docs/methods/ocean.md. Needs the extras
graphs and dev.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from examples.ocean_chains import rules

from armillary.data.relations.facts import BORDERS, CAPITAL, CONTINENT, COUNTRY, CURRENCY, LANGUAGE, geography_facts
from armillary.files import write_atomic
from armillary.graphs import Mention
from armillary.methods.ocean.chains import StepVerdict, chosen_graph, split_steps
from armillary.numerics.intervals import Array, Interval, bootstrap_weighted
from armillary.numerics.ratios import RatioSums

FOLDER = Path(__file__).parent
LABELS = ("true", "false", "none")
RIGHT = {"supported": "true", "contradicted": "false"}
"""Verdict -> the label with which it is right."""

DIGITS = 4
"""Decimals kept of shares: more than a page shows, fewer than in which two versions of SciPy may differ."""

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LabelledStep:
    """One step with the labels of the reader and of the rules."""

    chain: int
    step: int
    text: str
    label: str
    by_rule: str
    names: Mapping[str, str]
    """Name -> what it names."""


def labelled_steps() -> list[LabelledStep]:
    """Every step of the greedy chains. ValueError where labels.jsonl has other steps than the chains."""
    lines = gzip.decompress((FOLDER / "chains.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    greedy = [row for row in rows if row["model"].endswith("greedy")]
    steps = [(chain, step) for chain, row in enumerate(greedy) for step in enumerate(split_steps(row["text"])[0])]
    made = []
    for (chain, (step, text)), line in zip(
        steps, (FOLDER / "labels.jsonl").read_text("utf-8").splitlines(), strict=True
    ):
        given = json.loads(line)
        if (given["chain"], given["step"]) != (chain, step):
            raise ValueError(f"labels.jsonl has {given} in the place of chain {chain}, step {step}.")
        asked = greedy[chain]["prompt"].split("?")[0].removeprefix("What is ")
        by_rule = rules.label(text, asked, greedy[chain]["answers"])
        made.append(
            LabelledStep(
                chain=chain, step=step, text=text, label=given["label"], by_rule=by_rule, names=given["names"]
            )
        )
    return made


def figures(steps: Sequence[LabelledStep]) -> dict[str, object]:
    """What judged.json holds: the verdicts of each label, shares with intervals, what went wrong, and agreement."""
    checker, kinds = chosen_graph("geography").checker(), _kinds()
    judged = [(one, checker.check([one.text])[0]) for one in steps]
    named = [(one, _named(one, verdict.mentions, kinds)) for one, verdict in judged]
    shares = {
        f"{verdict} steps that are labelled {label}": _share(
            (one, one.label == label) for one, given in judged if given.verdict == verdict
        )
        for verdict, label in RIGHT.items()
    }
    shares |= {
        f"steps labelled {label} that are {verdict}": _share(
            (one, given.verdict == verdict) for one, given in judged if one.label == label
        )
        for verdict, label in RIGHT.items()
    }
    shares |= {
        "links on a name of what they link to": _share((one, name is not None) for one, own in named for name in own),
        "names that are linked as what they are": _share(
            (one, name in own) for one, own in named for name in one.names
        ),
        "steps with one label by reading and by rule": _share((one, one.label == one.by_rule) for one in steps),
        "of those on which the rule has a say": _share(
            (one, one.label == one.by_rule) for one in steps if one.by_rule != "none"
        ),
    }
    return {
        "chains": len({one.chain for one in steps}),
        "verdicts": _table((one.label, given.verdict) for one, given in judged),
        "rule": _table((one.label, one.by_rule) for one in steps),
        "shares": shares,
        "kappa": _rounded(_kappa(steps)),
        "wrong": [
            {"chain": one.chain, "step": one.step, "verdict": given.verdict, "label": one.label, "text": one.text}
            for one, given in judged
            if given.verdict in RIGHT and RIGHT[given.verdict] != one.label
        ],
        "missed": _missed(judged),
    }


def _table(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """First -> second -> how often."""
    table: dict[str, Counter[str]] = {label: Counter() for label in LABELS}
    for label, other in pairs:
        table[label][other] += 1
    return {label: dict(sorted(row.items())) for label, row in table.items()}


def _share(pairs: Iterable[tuple[LabelledStep, bool]]) -> dict[str, object]:
    """How many are right of how many, with the interval of the share over the chains that have any."""
    chains: dict[int, list[bool]] = {}
    for one, right in pairs:
        chains.setdefault(one.chain, []).append(right)
    sums = RatioSums()
    for own in chains.values():
        sums.add(sum(own), len(own))
    share = sums.interval(what="chains")
    assert share is not None, "there are steps of each kind"
    return {"right": int(sums.x), "of": int(sums.y), "share": _rounded(share)}


def _rounded(value: Interval) -> dict[str, object]:
    numbers = {"estimate": value.estimate, "low": value.lower, "high": value.upper}
    return {**{name: round(number, DIGITS) for name, number in numbers.items()}, "how": value.how}


def _kappa(steps: Sequence[LabelledStep]) -> Interval:
    """Cohen's (1960) kappa of the two labels: agreement beyond what their shares alone give, over what is possible."""
    chains = sorted({one.chain for one in steps})
    counts_CLL = np.zeros((len(chains), len(LABELS), len(LABELS)))
    for one in steps:
        counts_CLL[chains.index(one.chain), LABELS.index(one.label), LABELS.index(one.by_rule)] += 1

    def kappa(drawn_RC: Array) -> Array:
        table_RLL = np.einsum("rc,cij->rij", drawn_RC, counts_CLL)
        table_RLL /= table_RLL.sum((1, 2), keepdims=True)
        agreed_R = np.trace(table_RLL, axis1=1, axis2=2)
        by_chance_R = (table_RLL.sum(1) * table_RLL.sum(2)).sum(1)
        value_R: Array = (agreed_R - by_chance_R) / (1 - by_chance_R)
        return value_R

    return bootstrap_weighted(kappa, len(chains), seed=0, how=f"percentile bootstrap over {len(chains)} chains")


# Links.


def _places(one: LabelledStep) -> Iterator[tuple[str, Span]]:
    """Where its names stand; what stands within a longer one ("Singapore Dollar") is that one alone."""
    taken: list[Span] = []
    for name in sorted(one.names, key=len, reverse=True):
        for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", one.text):
            if not any(_overlap(match.span(), span) for span in taken):
                taken.append(match.span())
                yield name, match.span()


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _kinds() -> dict[str, set[str]]:
    """Entity of the packaged geography -> what it is."""
    of_tails = {
        CAPITAL: "city", COUNTRY: "country", CONTINENT: "continent",
        LANGUAGE: "language", CURRENCY: "currency", BORDERS: "country",
    }  # fmt: skip
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for head, relation, tail in geography_facts():
        kinds[head].add("city" if relation == COUNTRY else "country")
        kinds[tail].add(of_tails[relation])
    return kinds


def _named(one: LabelledStep, mentions: Sequence[Mention], kinds: Mapping[str, set[str]]) -> list[str | None]:
    """For each link the name that it stands on, where one of its entities is what that name names; else None."""
    return [
        next(
            (
                name
                for name, span in _places(one)
                if _overlap((mention.start, mention.end), span)
                and any(one.names[name] in kinds[entity] for entity in mention.entities)
            ),
            None,
        )
        for mention in mentions
    ]


def _missed(judged: Sequence[tuple[LabelledStep, StepVerdict]]) -> dict[str, dict[str, int]]:
    """Label -> the checker's reason, without what differs from step to step -> steps with a statement left unknown."""
    missed: dict[str, Counter[str]] = {"true": Counter(), "false": Counter()}
    for one, given in judged:
        if one.label in missed and given.verdict == "unknown":
            missed[one.label][re.sub(r"^of .*", "the relation can have further tails", given.reason)] += 1
    return {label: dict(reasons.most_common()) for label, reasons in missed.items()}


def main() -> None:
    text = json.dumps(figures(labelled_steps()), ensure_ascii=False, indent=1)
    write_atomic(FOLDER / "judged.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
