"""Sections of answers, of paths and of a survey of the key space, with the survey's finding and measures."""

from collections import Counter
from collections.abc import Sequence

from armillary.methods.icn.chains import Solution
from armillary.methods.icn.key_survey import KeySurvey
from armillary.methods.icn.result import Answer
from armillary.methods.icn.validity import Form, checked
from armillary.numerics.intervals import Interval
from armillary.records.sections import Bars, Figure, Finding, Points, Section, Table

SHOWN = 60
"""Clusters in the table, largest first."""


def answers_section(prompt: str, answers: Sequence[Answer], form: Form) -> Section:
    """The answers to one prompt in the order found, with the ranks that they came from and why some were cut."""
    outcome = checked(prompt, answers, form)
    kept = [index for index, reason in enumerate(outcome.reasons) if reason is None]
    cut = Counter(reason for reason in outcome.reasons if reason is not None)
    shape = {"name": " that have the form of a name", "sentence": " that are whole sentences", "any": ""}[form]
    summary = f"{len(kept)} different answers{shape}, of {len(answers)} to {prompt!r}"
    summary += f" (cut: {'; '.join(f'{reason}: {number}' for reason, number in cut.most_common())})." if cut else "."
    unchecked = "whether an answer is right is not checked"
    if outcome.listed is None:
        summary += f" {unchecked.capitalize()}."
    else:
        right = sum(outcome.listed[index] for index in kept)
        summary += f" {right} of them are in the packaged list of {outcome.kind}, which may lack rare ones."
    columns = ["answer", "first token", "rank", "round", "log-probability", "cut because"]
    listed = outcome.listed or ()
    return Section(
        id="answers",
        title="Answers",
        summary=summary,
        meaning="Each round puts the answers found so far into the prompt as a list and takes the best first tokens "
        "that have not been used; each is then completed without the list.",
        caution="A small model may repeat what it was told to avoid, and a wrong answer in the list pulls in others.",
        tables=[
            Table(
                title="Answers in the order found",
                columns=[*columns, f"in the list of {outcome.kind}"] if listed else columns,
                rows=[
                    [
                        answer.text,
                        answer.token_text,
                        answer.rank,
                        answer.round + 1,
                        answer.logprob,
                        reason or "",
                        *(["yes" if listed[index] else "no"] if listed else []),
                    ]
                    for index, (answer, reason) in enumerate(zip(answers, outcome.reasons, strict=True))
                ],
                note="The rank is that of the first token in its round, among all tokens. What was cut was cut by its "
                f"form, by rules that anyone can repeat; {unchecked}" + (" beyond the list." if listed else "."),
            )
        ],
    )


def paths_section(solution: Solution) -> Section:
    """The paths to one problem with the answer read out of each, and their vote."""
    agreeing = sum(answer == solution.vote for answer in solution.answers)
    summary = "No path gave an answer that could be read."
    if solution.vote is not None:
        tie = " (a tie)" if solution.tie else ""
        summary = f"{solution.vote}: {agreeing} of {len(solution.paths)} paths agree{tie}."
    return Section(
        id="paths",
        title="Ways to solve it",
        summary=summary,
        meaning="Each path begins with another first token, chosen with the earlier paths in the prompt; an answer is "
        "read out of each, and the most common one wins.",
        caution="Agreement is no proof: paths of one model share its errors.",
        tables=[
            Table(
                title="Paths",
                columns=["answer", "path"],
                rows=[[answer, path] for answer, path in zip(solution.answers, solution.paths, strict=True)],
            )
        ],
    )


def measures(survey: KeySurvey) -> dict[str, Interval]:
    """The survey's numbers by name."""
    return {
        "keys/within clusters": survey.cohesion.within,
        "keys/between clusters": survey.cohesion.between,
        "keys/within minus between": survey.cohesion.difference,
        "keys/within minus between, shuffled keys": survey.null.difference,
        "keys/in-cluster share of the middle ranks": survey.ranks.share,
        "keys/in-cluster share, frequency-matched draw": survey.ranks.null,
    }


def finding(survey: KeySurvey) -> Finding:
    """The one sentence: how the ranking sticks to the clusters of its top."""
    share, null = survey.ranks.share.estimate, survey.ranks.null.estimate
    times = share / max(null, 1e-3)
    text = (
        f"{share:.0%} of the middle ranks of the next token are keys from the clusters of the top ten, "
        f"{times:.0f} times a draw of like frequency: what looks like the top token is ranked high, right or wrong."
    )
    return Finding(text=text, interest=min(0.7, 0.3 + 0.02 * times), section="keys")


def section(survey: KeySurvey) -> Section:
    """Map, groups, ranks, and the tokens of the clusters."""
    facts, ranks = survey.facts, survey.ranks
    ordered = sorted(survey.clusters, key=lambda cluster: -cluster.size)
    return Section(
        id="keys",
        title="Vocabulary key space",
        summary=f"{facts.n_clusters} clusters of {facts.tokens:,} keys: keys of one cluster are more alike than "
        f"others by {survey.cohesion.difference.estimate:.2f} (centred cosine; shuffled keys: "
        f"{survey.null.difference.estimate:.2f}). Of the ranks {ranks.top + 1} to {ranks.ranks} after eight prompts, "
        f"{ranks.share.estimate:.0%} lie in clusters of the first {ranks.top}; a draw of like frequency gives "
        f"{ranks.null.estimate:.1%}.",
        meaning="Each token has a key, a row of the matrix that turns the last hidden state into logits. Keys that "
        "point the same way rise and fall together, whatever the prompt: letters with letters, digits with digits. A "
        "token that resembles the best one is ranked high even where it makes no sense.",
        caution=f"The map is flat and the space is not: of a cluster's ten nearest others, {survey.kept:.0%} are "
        "also nearest on the map, so trust small neighbourhoods and not distances. k-means finds groups in anything; "
        "compare with the shuffled keys."
        + (" Keys and input embeddings are one matrix here, so the groups serve both." if survey.tied else ""),
        figures=[_map(survey), _groups(survey)],
        tables=[
            Table(
                title=f"The {min(SHOWN, len(ordered))} largest clusters and their most central tokens",
                columns=["tokens", "nearest to the centre"],
                rows=[[cluster.size, "  ".join(cluster.examples)] for cluster in ordered[:SHOWN]],
                note=f"{len(ordered)} clusters in all; the map names each.",
            ),
            Table(
                title="Nearest keys of a few tokens",
                columns=["token", "nearest keys", "centred cosine of the nearest"],
                rows=[[row.token, "  ".join(row.nearest), row.cosine[0]] for row in survey.neighbours],
            ),
        ],
    )


def _map(survey: KeySurvey) -> Figure:
    clusters = survey.clusters
    # Even clusters would each hold this share; a factor of four either way is plain to see.
    typical = survey.facts.tokens / len(clusters)
    return Figure(
        title=f"Clusters of vocabulary keys (the map keeps {survey.kept:.0%} of the nearest neighbours)",
        data=Points(
            x=[cluster.x for cluster in clusters],
            y=[cluster.y for cluster in clusters],
            labels=[" ".join(cluster.examples[:6]) for cluster in clusters],
            groups=[
                "large" if cluster.size > 4 * typical else "small" if cluster.size < typical / 4 else "of usual size"
                for cluster in clusters
            ],
            x_label="near each other: alike",
        ),
        alt=f"A point for each of {len(clusters)} clusters of vocabulary keys, labelled with its most central tokens.",
        interactive=True,
    )


def _groups(survey: KeySurvey) -> Figure:
    shares: dict[str, float] = {name: group.largest_two for name, group in survey.groups.items()}
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return Figure(
        title="Do tokens that belong together share a cluster?",
        data=Bars(
            labels=list(shares),
            values=list(shares.values()),
            # Counts of the whole group, so the interval is the value.
            low=list(shares.values()),
            high=list(shares.values()),
            x_label="share in the two clusters that hold most of them",
        ),
        alt=f"Bars: {listed}." if listed else "No group of letters, digits or months is in this vocabulary.",
    )
