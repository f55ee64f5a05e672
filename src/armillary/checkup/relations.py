"""Diagnosis: which prompts move together, by LinCorr over the relation families."""

from dataclasses import replace
from typing import Any

from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, Payload
from armillary.data import relation, relation_ids
from armillary.data.sources import DataSource
from armillary.methods.lincorr import LinCorrConfig, correlation_matrix, prompt_tables, study
from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Finding, Section, Table

RELATIONS_SHOWN = (
    "city-country",
    "country-continent",
    "country-language",
    "country-currency",
    "add1-add2",
    "add1-times2",
    "fruit-color",
    "city-color",
)
"""Related, arithmetic, weak and control pairs; a relation that the tokenizer can't express is named and left out."""


def sources() -> tuple[DataSource, ...]:
    """Where the words and gold pairs come from, each source once."""
    found: dict[str, DataSource] = {}
    for name in RELATIONS_SHOWN:
        for source in relation(name).source if name in relation_ids() else ():
            found.setdefault(source.name, source)
    return tuple(found.values())


def measure(context: Context) -> Payload:
    """Correlation with controls for each relation, and the matrix over all ordered pairs of prompts."""
    config = LinCorrConfig(n=context.config.subjects, seed=context.config.seed, replicates=500)
    done = study(
        context.loaded,
        [name for name in RELATIONS_SHOWN if name in relation_ids()],
        config,
        store=lambda name, compute: context.parts.arrays(f"{context.role} relations {name}", compute),
    )
    payload: Payload = {**done.to_dict(), "subjects": len(done.subjects)}
    prompts = prompt_tables(done.tables)
    if len(prompts) > 1:
        matrix = correlation_matrix(prompts, replace(config, permutations=2, replicates=200))
        null = [cell.estimate for row in matrix.null for cell in row if cell is not None]
        payload |= {"templates": list(matrix.names), "matrix": matrix.estimates(), "null": sum(null) / len(null)}
    return payload


def _interval(result: dict[str, Any], name: str) -> Interval | None:
    return Interval.from_dict(result[name]) if result.get(name) else None


def _hit(result: dict[str, Any]) -> tuple[int, Interval, float] | None:
    """N, rate and chance: N is 5, or 1 where five guesses among few words would nearly always hit."""
    fit = "ridge" if result["ridge"] else "ols"
    for n in (5, 1):
        for hit in result["hits"]:
            same = (hit["n"], hit["direction"], hit["weights"], hit["fit"]) == (n, "influenced", "raw", fit)
            if same and (n == 1 or hit["chance"] <= 0.2):
                return n, Interval.from_dict(hit["rate"]), float(hit["chance"])
    return None


def describe(payload: Payload) -> Diagnosed:
    """Heat map of prompts, bars of relations against random words, tables of precision and examples."""
    results = payload["results"]
    if not results:
        return _nothing(payload)
    correlation = {name: Interval.from_dict(result["correlation"]) for name, result in results.items()}
    strongest = max(correlation, key=lambda name: correlation[name].estimate)
    weakest = min(correlation, key=lambda name: correlation[name].estimate)
    summary = (
        f"Over {payload['subjects']:,} vocabulary items in the slot, the strongest pair is {strongest} "
        f"({correlation[strongest].estimate:.2f}) and the weakest {weakest} ({correlation[weakest].estimate:.2f}); "
        f"with shuffled pairing {payload['null']:.2f}."
    )
    section = Section(
        id="relations",
        title="Linear correlation between prompts",
        summary=summary,
        meaning="Each prompt is asked about the same random vocabulary items. If the next-token logits after one "
        "prompt "
        "predict those after another by one linear map, teaching the model something in the first prompt will move "
        "the "
        "second too (Peng and others 2025, arXiv 2502.04520). Only where the map's largest weights also name the "
        "right "
        "answers (hit@5) is that movement knowledge; elsewhere it is a source of hallucination.",
        caution="Much of a high correlation says only that two prompts put the model in a similar state: random "
        "words under "
        "the same target prompt (the tick) already correlate. Trust the excess over that tick. Words that are several "
        "tokens in this tokenizer are left out and listed.",
        figures=[_heatmap(payload), _bars(results, correlation)],
        tables=[_precision(results), _examples(results)] + ([_skipped(payload)] if payload["skipped"] else []),
    )
    measures = {f"{name}/correlation": value for name, value in correlation.items()}
    for name, result in results.items():
        for key, label in (("excess", "excess over random words"), ("centred", "centred"), ("permuted", "permuted")):
            value = _interval(result, key)
            if value is not None:
                measures[f"{name}/{label}"] = value
    return Diagnosed(section=section, measures=measures, findings=_findings(results, correlation, strongest))


def _findings(results: dict[str, Any], correlation: dict[str, Interval], strongest: str) -> list[Finding]:
    """The pair whose facts spread most rightly, and the one that is most likely to spread wrongly."""
    right, wrong = [], []
    for name, result in results.items():
        excess, hit = _interval(result, "excess"), _hit(result)
        if excess is None or hit is None:
            continue
        n, rate, chance = hit
        said = f"{rate.estimate:.0%} of the words (chance {chance:.0%})"
        known = rate.low is not None and rate.low > chance
        if known and excess.low is not None and excess.low > 0:
            text = (
                f"{name}: what it says after the first prompt predicts the second (correlation "
                f"{correlation[name].estimate:.2f}, {excess.estimate:+.2f} over random words), and {_largest(n)} a "
                f"right answer for {said}: facts taught there will spread, often rightly."
            )
            right.append(Finding(text=text, interest=min(1.0, 0.8 + excess.estimate), section="relations"))
        elif correlation[name].estimate > 0.5 and not known:
            text = (
                f"{name}: high correlation ({correlation[name].estimate:.2f}), but {_largest(n)} a right answer for "
                f"only {said}: updates there are likely to spread wrongly."
            )
            interest = min(0.95, 0.45 + correlation[name].estimate / 2)
            wrong.append(Finding(text=text, interest=interest, section="relations"))
    found = [max(side, key=lambda finding: finding.interest) for side in (right, wrong) if side]
    if not found:
        text = f"The most strongly tied prompts are {strongest} at {correlation[strongest].estimate:.2f}."
        found.append(Finding(text=text, interest=0.4, section="relations"))
    return found


def _largest(n: int) -> str:
    return "the largest weight of a word names" if n == 1 else f"the {n} largest weights of a word name"


def _heatmap(payload: Payload) -> Figure:
    names = [template.replace("{}", "X") for template in payload["templates"]]
    return Figure(
        kind="heatmap",
        title="How well one prompt's logits predict another's",
        data={
            "rows": names,
            "columns": names,
            "values": payload["matrix"],
            "low": 0.0,
            "high": 1.0,
            "unit": "test correlation",
        },
        alt="Heat map of test correlations: rows predict columns; the diagonal is left empty.",
    )


def _bars(results: dict[str, Any], correlation: dict[str, Interval]) -> Figure:
    order = sorted(correlation, key=lambda name: -correlation[name].estimate)
    random = [_interval(results[name], "random_domain") for name in order]
    return Figure(
        kind="bars",
        title="Relations, with random words under the same prompt as the tick",
        data={
            "labels": order,
            "values": [correlation[name].estimate for name in order],
            "low": [correlation[name].low for name in order],
            "high": [correlation[name].high for name in order],
            "reference": [None if value is None else value.estimate for value in random],
            "reference_name": "random words",
            "x_label": "mean test correlation over target words",
        },
        alt=f"Bars of correlation by relation, from {order[0]} down to {order[-1]}.",
    )


def _precision(results: dict[str, Any]) -> Table:
    rows = []
    for name, result in results.items():
        excess, hit = _interval(result, "excess"), _hit(result)
        rows.append(
            [
                name,
                result["group"],
                result["correlation"]["estimate"],
                None if excess is None else excess.estimate,
                None if hit is None else hit[0],
                None if hit is None else hit[1].estimate,
                None if hit is None else f"{hit[1].low:.2f} to {hit[1].high:.2f}",
                None if hit is None else hit[2],
                len(result["source_words"]["dropped"]) + len(result["target_words"]["dropped"]),
            ]
        )
    columns = ["relation", "group", "correlation", "excess", "N", "hit@N", "interval", "chance", "words left out"]
    return Table(title="Do the weights name right answers?", columns=columns, rows=rows)


def _examples(results: dict[str, Any], most: int = 4) -> Table:
    rows = []
    for name, result in results.items():
        for example in sorted(result["examples"], key=lambda one: not one["hit"])[:most]:
            top = ", ".join(f"{word} {weight:.2f}" for word, weight in example["top"][:3])
            rows.append([name, example["source"], ", ".join(example["gold"]), top, "yes" if example["hit"] else "no"])
    return Table(
        title="Examples: the largest weights of a word",
        columns=["relation", "word", "right answers", "largest weights", "first one right"],
        rows=rows,
        note="Hits are listed before misses; the share of hits is in the table above.",
    )


def _skipped(payload: Payload) -> Table:
    rows = [[name, reason] for name, reason in payload["skipped"].items()]
    return Table(title="Relations this tokenizer can't express", columns=["relation", "reason"], rows=rows)


def _nothing(payload: Payload) -> Diagnosed:
    section = Section(
        id="relations",
        title="Linear correlation between prompts",
        summary="No relation can be expressed in single tokens of this tokenizer.",
        meaning="LinCorr reads the logits of words that are one token each.",
        caution="Nothing was measured here.",
        tables=[_skipped(payload)],
    )
    return Diagnosed(section=section)


def compare(before: Payload, after: Payload) -> Diagnosed:
    """Which relations moved."""
    names = [name for name in before["results"] if name in after["results"]]
    old = {name: Interval.from_dict(before["results"][name]["correlation"]) for name in names}
    new = {name: Interval.from_dict(after["results"][name]["correlation"]) for name in names}
    moved = [name for name in names if _apart(old[name], new[name])]
    rows: list[list[Any]] = [
        [name, old[name].estimate, new[name].estimate, new[name].estimate - old[name].estimate, _moved(name in moved)]
        for name in names
    ]
    said = ", ".join(f"{name} {new[name].estimate - old[name].estimate:+.2f}" for name in moved)
    summary = f"{len(moved)} of {len(names)} relations moved beyond their intervals" + (f": {said}." if said else ".")
    section = Section(
        id="relations-change",
        title="Linear correlation: what changed",
        summary=summary,
        meaning="A relation that loses correlation has been decoupled by the tuning: what is taught in one prompt "
        "will carry "
        "over less. The maps are fitted anew on each model.",
        caution="Called moved when the two intervals do not overlap, which is stricter than a 5 % test; small shifts "
        "stay "
        "unnoticed.",
        tables=[
            Table(
                title="Relations before and after",
                columns=["relation", "before", "after", "change", "moved"],
                rows=rows,
            )
        ],
    )
    finding = Finding(text=summary, interest=0.85 if moved else 0.3, section="relations-change")
    return Diagnosed(section=section, findings=[finding])


def _apart(one: Interval, other: Interval) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low


def _moved(yes: bool) -> str:
    return "yes" if yes else "no"


RELATIONS = Diagnosis(
    name="relations", title="Linear correlation between prompts", measure=measure, describe=describe, compare=compare
)
