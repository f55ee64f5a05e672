"""What an edit did, for a reader: before and after, paraphrases, neighbours, and text elsewhere. Needs no model."""

from typing import TYPE_CHECKING, Any

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars

if TYPE_CHECKING:
    from armillary.methods.bricks.editing.metrics import EditScores, FactOutcome, SideEffects
    from armillary.methods.bricks.editing.rome import FactEdit


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
    return {name: one for name, one in named.items() if one is not None}


def edit_finding(outcome: "FactOutcome", side: "SideEffects", edit: "FactEdit") -> Finding:
    """What the model writes now, and at what price."""
    return Finding(text=_sentence(outcome, side, edit), interest=0.6, section="edit")


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
        same = sum(one == other for one, other in pairs)
        counts.append(f"{same} of {len(fact.neighbours)} other subjects are answered as before")
    change = side.nll_change
    counts.append(
        f"the loss on other text changes by {change.estimate:+.4f} nats a token [{change.lower:.4f}, "
        f"{change.upper:.4f}]"
    )
    return f"Edited at layer {edit.layer}: {'; '.join(counts)}."


def edit_section(
    outcome: "FactOutcome", scores: "EditScores", side: "SideEffects", edit: "FactEdit", sweep: dict[str, Any] | None
) -> Section:
    """The section of the report."""
    tables = [_answers(outcome), _costs(outcome, side, edit)]
    if outcome.fact.neighbours:
        tables.insert(1, _neighbours(outcome))
    if sweep is not None:
        tables.append(_layers(sweep))
    shares = {
        name: one
        for name, one in edit_measures(scores, side).items()
        if name in ("generalisation", "locality", "neighbours unchanged", "same next token elsewhere")
    }
    return Section(
        id="edit",
        title="The edited fact",
        summary=_sentence(outcome, side, edit),
        meaning="One matrix of one feed-forward block gets a change of rank one, so that the key of the subject gives "
        "the new answer and what general text reads there moves as little as may be. The tables tell what the model "
        "answers before and after: on the prompt, asked in other words, for other subjects, and on unrelated text.",
        caution="One fact is one case: the shares have wide intervals. A likelier answer is not yet what the model "
        "writes. What follows from the fact is not changed with it.",
        figures=[interval_bars("Shares after the edit", shares, "share")],
        tables=tables,
    )


def _answers(outcome: "FactOutcome") -> Table:
    fact, before, after = outcome.fact, outcome.before, outcome.after
    rows: list[list[Cell]] = [
        [text.replace("{}", fact.subject), before.true[at], before.new[at], after.true[at], after.new[at]]
        for at, text in enumerate((fact.prompt, *fact.paraphrases))
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
            one.subject,
            one.answer,
            before.neighbour_true[at],
            after.neighbour_true[at],
            "yes" if before.neighbour_top[at] == after.neighbour_top[at] else "no",
        ]
        for at, one in enumerate(outcome.fact.neighbours)
    ]
    return Table(
        title="Other subjects",
        columns=["subject", "its answer", "log-probability before", "after", "same next token"],
        rows=rows,
    )


def _costs(outcome: "FactOutcome", side: "SideEffects", edit: "FactEdit") -> Table:
    rows: list[list[Cell]] = [
        ["divergence from the base, nats", *_row(side.divergence)],
        ["change of the loss, nats per token", *_row(side.nll_change)],
        ["share of positions with the same next token", *_row(side.same_top)],
        ["largest divergence of a position, nats", side.largest_divergence, None, None],
        ["largest change of another subject's answer, nats", outcome.largest_off_target, None, None],
        ["u . k: how well the key stands apart", edit.separation, None, None],
        ["size of the change over what the block wrote", edit.relative_change, None, None],
    ]
    note = f"The largest divergence is in the text that begins {side.worst_text[:60]!r}."
    return Table(title="Side effects", columns=["what", "value", "low", "high"], rows=rows, note=note)


def _row(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.lower, interval.upper


def _layers(sweep: dict[str, Any]) -> Table:
    def share(scores: dict[str, Any], name: str) -> Cell:
        return None if scores[name] is None else scores[name]["estimate"]

    names = ("efficacy", "generalisation", "locality", "generation", "score")
    rows: list[list[Cell]] = [
        [int(layer), *(share(scores, name) for name in names)] for layer, scores in sweep["scores"].items()
    ]
    rows += [[int(layer), *(None for _ in names)] for layer in sweep["refused"]]
    count = next(iter(sweep["scores"].values()))["facts"]
    return Table(
        title="Layers tried on other facts",
        columns=["layer", *names],
        rows=rows,
        note=f"Shares over {count} facts that the model knows, none of them the edited one; layer {sweep['best']} was "
        "taken. A row without shares is a layer at which a fact could not be edited.",
    )
