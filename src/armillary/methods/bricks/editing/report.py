"""What an edit did, for a reader: before and after, paraphrases, neighbours, and text elsewhere. Needs no model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Section, Table, interval_bars

if TYPE_CHECKING:
    from armillary.methods.bricks.editing.memit import BatchEdit
    from armillary.methods.bricks.editing.metrics import EditScores, FactOutcome, SideEffects
    from armillary.methods.bricks.editing.rome import FactEdit, LayerSweep


def edit_measures(scores: "EditScores", side: "SideEffects") -> dict[str, Interval]:
    """Shares over the fact's prompts, and what changed elsewhere."""
    named = {
        "efficacy": scores.efficacy,
        "generalisation": scores.generalisation,
        "locality": scores.locality,
        "neighbours unchanged": scores.unchanged,
        "divergence elsewhere, nats": side.divergence,
        "change of the loss elsewhere, nats per token": side.nll_change,
        "same next token elsewhere": side.same_top,
    }
    return {name: value for name, value in named.items() if value is not None}


def _sentence(outcome: "FactOutcome", side: "SideEffects", edit: "FactEdit") -> str:
    fact, after = outcome.fact, outcome.after
    wrote = "does not write it freely" if not outcome.generation_right else "writes it freely"
    likelier = "likelier" if after.new[0] > after.true[0] else "still less likely"
    counts = [f"the new answer {fact.target_new!r} is {likelier} than {fact.target_true!r}, and the model {wrote}"]
    if fact.paraphrases:
        hit = sum(new > true for new, true in zip(after.new[1:], after.true[1:], strict=True))
        counts.append(f"{hit} of {len(fact.paraphrases)} paraphrases follow")
    if fact.neighbours:
        pairs = zip(outcome.before.neighbour_top, after.neighbour_top, strict=True)
        same = sum(old == new for old, new in pairs)
        counts.append(f"{same} of {len(fact.neighbours)} other subjects are answered as before")
    change = side.nll_change
    counts.append(
        f"the loss on other text changes by {change.estimate:+.4f} nats a token [{change.lower:.4f}, "
        f"{change.upper:.4f}]"
    )
    return f"Edited at layer {edit.layer}: {'; '.join(counts)}."


def edit_section(
    outcome: "FactOutcome", scores: "EditScores", side: "SideEffects", edit: "FactEdit", sweep: "LayerSweep | None"
) -> Section:
    """The answers before and after, what changed elsewhere, and the layers that were tried (``sweep``)."""
    tables = [_answers(outcome), _costs(outcome, side, edit)]
    if outcome.fact.neighbours:
        tables.insert(1, _neighbours(outcome))
    if sweep is not None:
        tables.append(_layers(sweep))
    shares = {
        name: share
        for name, share in edit_measures(scores, side).items()
        if name in ("generalisation", "locality", "neighbours unchanged", "same next token elsewhere")
    }
    return Section(
        id="edit",
        title="The edited fact",
        summary=_sentence(outcome, side, edit),
        meaning="One matrix of one feed-forward block gets a change of rank one, so that the key of the subject gives "
        "the new answer and what general text reads there moves as little as may be. The tables hold what the model "
        "answers before and after: on the prompt, asked in other words, for other subjects, and on unrelated text.",
        caution="One fact is one case: the shares have wide intervals. A likelier answer is not yet what the model "
        "writes. What follows from the fact is not changed with it.",
        figures=[interval_bars("Shares after the edit", shares, "share")],
        tables=tables,
    )


def _answers(outcome: "FactOutcome") -> Table:
    fact, before, after = outcome.fact, outcome.before, outcome.after
    rows: list[list[Cell]] = [
        [text.replace("{}", fact.subject), *answers]
        for text, *answers in zip(
            (fact.prompt, *fact.paraphrases), before.true, before.new, after.true, after.new, strict=True
        )
    ]
    old, new = fact.target_true, fact.target_new
    return Table(
        title="Log-probabilities of the whole answers, nats",
        columns=["prompt", f"{old}: before", f"{new}: before", f"{old}: after", f"{new}: after"],
        rows=rows,
        note=f"The model goes on with {before.generated!r} before and {after.generated!r} after the edit.",
    )


def _neighbours(outcome: "FactOutcome") -> Table:
    before, after = outcome.before, outcome.after
    rows: list[list[Cell]] = [
        [
            neighbour.subject,
            neighbour.answer,
            before.neighbour_true[index],
            after.neighbour_true[index],
            "yes" if before.neighbour_top[index] == after.neighbour_top[index] else "no",
        ]
        for index, neighbour in enumerate(outcome.fact.neighbours)
    ]
    return Table(
        title="Other subjects",
        columns=["subject", "its answer", "log-probability before", "after", "same next token"],
        rows=rows,
    )


def _costs(outcome: "FactOutcome", side: "SideEffects", edit: "FactEdit") -> Table:
    rows: list[list[Cell]] = [
        *_elsewhere(side),
        ["largest divergence of a position, nats", side.largest_divergence, None, None],
        ["largest change of another subject's answer, nats", outcome.largest_off_target, None, None],
        ["u . k: how well the key stands apart", edit.separation, None, None],
        ["size of the change over what the block wrote", edit.relative_change, None, None],
    ]
    note = f"The largest divergence is in the text that begins {side.worst_text[:60]!r}."
    return Table(title="Side effects", columns=["what", "value", "low", "high"], rows=rows, note=note)


def _elsewhere(side: "SideEffects") -> list[list[Cell]]:
    named = {
        "divergence from the base, nats": side.divergence,
        "change of the loss, nats per token": side.nll_change,
        "share of positions with the same next token": side.same_top,
    }
    return [[name, value.estimate, value.lower, value.upper] for name, value in named.items()]


def _layers(sweep: "LayerSweep") -> Table:
    names = ("efficacy", "generalisation", "locality", "generation", "score")
    rows: list[list[Cell]] = []
    for layer, scores in sweep.scores.items():
        shares = (scores.efficacy, scores.generalisation, scores.locality, scores.generation, scores.score)
        rows.append([layer, *(None if share is None else share.estimate for share in shares)])
    rows += [[layer, *(None for _ in names)] for layer in sweep.refused]
    return Table(
        title="Layers tried on other facts",
        columns=["layer", *names],
        rows=rows,
        note=f"Shares over {sweep.scores[sweep.best].facts} facts that the model knows, none of them the edited one; "
        f"layer {sweep.best} was taken. A row without shares is a layer at which a fact could not be edited.",
    )


def facts_section(
    edit: "BatchEdit",
    outcomes: "Sequence[FactOutcome]",
    scores: "EditScores",
    side: "SideEffects",
    sweep: "LayerSweep | None",
) -> Section:
    """What became of each fact, of its paraphrases and neighbours, and of other text; the summary is the finding."""
    change = side.nll_change
    summary = (
        f"{scores.facts} facts written at once at {'layer' if len(edit.layers) == 1 else 'layers'} "
        f"{', '.join(map(str, edit.layers))}: the new answer is the likelier one for "
        f"{scores.efficacy.estimate:.0%} of them, and the model writes it freely for "
        f"{scores.generation.estimate:.0%}; the loss on other text changes by "
        f"{change.estimate:+.4f} nats a token [{change.lower:.4f}, {change.upper:.4f}]."
    )
    shares = {
        "new answer likelier, before": scores.efficacy_before,
        "new answer likelier": scores.efficacy,
        "new answer likelier, asked otherwise": scores.generalisation,
        "right answer likelier for other subjects": scores.locality,
        "same next token for other subjects": scores.unchanged,
        "new answer written freely": scores.generation,
    }
    rows: list[list[Cell]] = []
    for outcome, reached in zip(outcomes, edit.reached, strict=True):
        fact, before, after = outcome.fact, outcome.before, outcome.after
        follow = sum(new > true for new, true in zip(after.new[1:], after.true[1:], strict=True))
        same = sum(old == new for old, new in zip(before.neighbour_top, after.neighbour_top, strict=True))
        rows.append(
            [fact.subject, fact.target_true, fact.target_new, "yes" if after.new[0] > after.true[0] else "no",
             f"{follow} of {len(fact.paraphrases)}", f"{same} of {len(fact.neighbours)}", reached,
             after.generated.strip()]
        )  # fmt: skip
    return Section(
        id="edit",
        title="What the edits did",
        summary=summary,
        meaning="The write matrices of the layers named above are changed in closed form, for all facts together. The "
        "bars are shares over facts: how many are now answered anew, also asked in other words, and what became of "
        "other subjects of the same question.",
        caution="Likelier than the old answer is not yet what the model writes: see the last column. Facts that are "
        "written together share one change, so that each may reach only a part of what it wanted: the column says how "
        "much.",
        figures=[
            interval_bars(
                "Shares of facts", {name: share for name, share in shares.items() if share is not None}, "share"
            )
        ],
        tables=[
            Table(
                title="Each fact",
                columns=["subject", "old", "new", "new is likelier", "paraphrases", "other subjects as before",
                         "wanted change reached", "it now writes"],
                rows=rows,
            ),
            Table(
                title="Side effects",
                columns=["what", "value", "low", "high"],
                rows=_elsewhere(side),
                note=f"The largest divergence of a position is {side.largest_divergence:.3g} nats, in the text that "
                f"begins {side.worst_text[:60]!r}.",
            ),
            *([] if sweep is None else [_layers(sweep)]),
        ],
    )  # fmt: skip
