"""Diagnosis: which prompts move together, by LinCorr over the relation families."""

from dataclasses import dataclass, field, replace

from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, nothing_to_show
from armillary.data import relation, relation_ids
from armillary.data.sources import DataSource
from armillary.methods.lincorr import LinCorrConfig, correlation_matrix, prompt_tables, study
from armillary.methods.lincorr.method import StudyScores
from armillary.records.sections import Bars, Cell, Figure, Finding, Heatmap, Section, Table

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
    sources: dict[str, DataSource] = {}
    for name in RELATIONS_SHOWN:
        for source in relation(name).source if name in relation_ids() else ():
            sources.setdefault(source.name, source)
    return tuple(sources.values())


TITLE = "Linear correlation between prompts"


@dataclass(frozen=True, kw_only=True)
class RelationSurvey:
    """Every relation with its controls, and how well each prompt predicts each other."""

    study: StudyScores
    subjects: int
    """Vocabulary items that filled the slot."""

    templates: list[str] = field(default_factory=list)
    matrix: list[list[float | None]] = field(default_factory=list)
    """Test correlation of each ordered pair of templates; None on the diagonal."""

    null: float = 0.0
    """Mean correlation with shuffled pairing."""


def measure(context: Context) -> RelationSurvey:
    """Correlation with controls for each relation, and the matrix over all ordered pairs of prompts."""
    config = LinCorrConfig(n=context.config.subjects, seed=context.config.seed, replicates=500)
    done = study(
        context.loaded,
        [name for name in RELATIONS_SHOWN if name in relation_ids()],
        config,
        store=lambda name, compute: context.parts.arrays(f"relations {name}", compute),
    )
    survey = RelationSurvey(study=done.scores(), subjects=len(done.subjects))
    prompts = prompt_tables(done.tables)
    if len(prompts) < 2:
        return survey
    matrix = correlation_matrix(prompts, replace(config, permutations=2, replicates=200))
    null = [cell.estimate for row in matrix.null for cell in row if cell is not None]
    return replace(survey, templates=list(matrix.names), matrix=matrix.estimates(), null=sum(null) / len(null))


def describe(survey: RelationSurvey) -> Diagnosed:
    """Heat map of prompts, bars of relations against random words, tables of precision and examples."""
    results = survey.study.results
    if not results:
        return nothing_to_show(
            "relations",
            TITLE,
            "No relation can be expressed in single tokens of this tokenizer.",
            "LinCorr reads the logits of words that are one token each.",
            [_skipped(survey)],
        )
    strongest = max(results.values(), key=lambda scores: scores.correlation.estimate)
    weakest = min(results.values(), key=lambda scores: scores.correlation.estimate)
    summary = (
        f"Over {survey.subjects:,} vocabulary items in the slot, the strongest pair is {strongest.relation} "
        f"({strongest.correlation.estimate:.2f}) and the weakest {weakest.relation} "
        f"({weakest.correlation.estimate:.2f}); with shuffled pairing {survey.null:.2f}."
    )
    section = Section(
        id="relations",
        title=TITLE,
        summary=summary,
        meaning="Each prompt is asked about the same random vocabulary items. If the next-token logits after one "
        "prompt predict those after another by one linear map, what is taught in the first prompt is thought to move "
        "the second along it (Peng and others 2025, arXiv 2502.04520; what of it holds here stands in "
        "docs/methods/lincorr.md). Only where the map's largest weights also name the right answers more often than "
        "exchanged answers is the map that of the relation.",
        caution="Much of a high correlation says only that two prompts put the model in a similar state: random "
        "words under the same target prompt (the tick) already correlate. Trust the excess over that tick. An answer "
        "that the map favours everywhere is right for some words by chance, so hits are compared with what the same "
        "weights hit when the answers are exchanged between the words. Words that "
        "are several tokens in this tokenizer are left out and listed.",
        figures=[_heatmap(survey), _bars(survey)],
        tables=[_precision(survey), _examples(survey), *([_skipped(survey)] if survey.study.skipped else [])],
    )
    measures = {f"{name}/correlation": scores.correlation for name, scores in results.items()}
    for name, scores in results.items():
        intervals = {
            "excess over random words": scores.excess, "centred": scores.centred, "permuted": scores.permuted,
        }  # fmt: skip
        measures |= {f"{name}/{label}": value for label, value in intervals.items() if value is not None}
    return Diagnosed(section=section, measures=measures, findings=_findings(survey))


def _findings(survey: RelationSurvey) -> list[Finding]:
    """The pair whose map is most that of the relation, and the most tied one whose map is not.

    Many relations are looked at for the best, so the share of exchanges that hit as often is multiplied by their
    number (Bonferroni).
    """
    right, wrong = [], []
    results = survey.study.results
    tested = sum(scores.precision is not None for scores in results.values())
    for name, scores in results.items():
        excess, hit, correlation = scores.excess, scores.precision, scores.correlation.estimate
        if excess is None or hit is None:
            continue
        weights = "the largest weight of a word names" if hit.n == 1 else f"the {hit.n} largest weights of a word name"
        share = f"{hit.rate.estimate:.0%} of the words ({hit.chance:.0%} with the answers exchanged)"
        known = hit.p_value * tested <= 0.05
        if known and excess.low is not None and excess.low > 0:
            text = (
                f"{name}: what it says after the first prompt predicts the second (correlation {correlation:.2f}, "
                f"{excess.estimate:+.2f} over random words), and {weights} a right answer for {share}."
            )
            right.append(Finding(text=text, interest=min(1.0, 0.8 + excess.estimate), section="relations"))
        elif correlation > 0.5 and not known:
            text = (
                f"{name}: high correlation ({correlation:.2f}), but {weights} a right answer for {share}, which is no "
                "more than chance: the two prompts are tied, the facts are not."
            )
            wrong.append(Finding(text=text, interest=min(0.95, 0.45 + correlation / 2), section="relations"))
    findings = [max(side, key=lambda finding: finding.interest) for side in (right, wrong) if side]
    if findings:
        return findings
    strongest = max(survey.study.results.values(), key=lambda scores: scores.correlation.estimate)
    text = f"The most strongly tied prompts are {strongest.relation} at {strongest.correlation.estimate:.2f}."
    return [Finding(text=text, interest=0.4, section="relations")]


def _heatmap(survey: RelationSurvey) -> Figure:
    names = [template.replace("{}", "X") for template in survey.templates]
    return Figure(
        title="How well one prompt's logits predict another's",
        data=Heatmap(
            rows=[*names], columns=[*names], values=survey.matrix, low=0.0, high=1.0, unit="test correlation"
        ),
        alt="Heat map of test correlations: rows predict columns; the diagonal is left empty.",
    )


def _bars(survey: RelationSurvey) -> Figure:
    order = sorted(survey.study.results.values(), key=lambda scores: -scores.correlation.estimate)
    return Figure(
        title="Relations, with random words under the same prompt as the tick",
        data=Bars(
            labels=[scores.relation for scores in order],
            values=[scores.correlation.estimate for scores in order],
            low=[scores.correlation.low for scores in order],
            high=[scores.correlation.high for scores in order],
            reference=[None if scores.random_domain is None else scores.random_domain.estimate for scores in order],
            reference_name="random words",
            x_label="mean test correlation over target words",
        ),
        alt=f"Bars of correlation by relation, from {order[0].relation} down to {order[-1].relation}.",
    )


def _precision(survey: RelationSurvey) -> Table:
    rows: list[list[Cell]] = []
    for name, scores in survey.study.results.items():
        hit = scores.precision
        guesses: list[Cell] = [None, None, None, None, None]
        if hit is not None:
            exceeds = f"{hit.excess.estimate:+.2f} [{hit.excess.lower:+.2f}, {hit.excess.upper:+.2f}]"
            interval = f"{hit.rate.lower:.2f} to {hit.rate.upper:.2f}"
            guesses = [hit.n, hit.rate.estimate, interval, hit.chance, exceeds]
        excess = None if scores.excess is None else scores.excess.estimate
        rows.append([name, scores.group, scores.correlation.estimate, excess, *guesses, scores.dropped_words])
    columns = [
        "relation", "group", "correlation", "excess", "N", "hit@N", "interval", "exchanged", "hits over exchanged",
        "words left out",
    ]  # fmt: skip
    return Table(title="Do the weights name right answers?", columns=columns, rows=rows)


def _examples(survey: RelationSurvey, most: int = 4) -> Table:
    rows: list[list[Cell]] = []
    for name, scores in survey.study.results.items():
        for example in sorted(scores.examples, key=lambda example: not example.hit)[:most]:
            top = ", ".join(f"{word} {weight:.2f}" for word, weight in example.top[:3])
            rows.append([name, example.source, ", ".join(example.gold), top, "yes" if example.hit else "no"])
    return Table(
        title="Examples: the largest weights of a word",
        columns=["relation", "word", "right answers", "largest weights", "first one right"],
        rows=rows,
        note="Hits are listed before misses; the share of hits is in the table above.",
    )


def _skipped(survey: RelationSurvey) -> Table:
    rows: list[list[Cell]] = [[name, reason] for name, reason in survey.study.skipped.items()]
    return Table(title="Relations this tokenizer can't express", columns=["relation", "reason"], rows=rows)


RELATIONS = Diagnosis(
    name="relations",
    result=RelationSurvey,
    # 20 s for 100 words in the slot; maps are fitted on as many whatever their number.
    cost=lambda config: 5.0 + 0.15 * config.subjects,
    measure=measure,
    descriptions=(describe,),
)
