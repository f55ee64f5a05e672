"""The work of ``armillary train text``: rows are learned, the adapter or model is left, and what the loss became."""

import random
from collections.abc import Sequence
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.files import whole_folder
from armillary.finetuning.report import LoggedSeries
from armillary.finetuning.text.config import TextConfig, leaves, look
from armillary.finetuning.text.report import TagRows, TextResult, text_findings, text_measures, text_sections
from armillary.finetuning.text.rows import Encoding, encode_rows, read_text_rows
from armillary.finetuning.text.training import learning, multiplies_in_bfloat16, row_nats, train_rows
from armillary.models import LoadedModel, load
from armillary.models.quiet import quiet
from armillary.runs.run import Outcome, Run

_READ = 200
"""Rows whose loss is read before and after, at most: enough for an interval, a small part of a training's time."""

_LEAST = 5
"""Rows held out at least: fewer give no interval worth the name, and are better learned."""


def open_model(name: str, config: TextConfig) -> LoadedModel:
    """The model in the number format of the settings, or in the one that ``auto`` stands for."""
    opening = config.opening()
    if config.dtype == "auto":
        short = config.rank > 0 and multiplies_in_bfloat16(config.device)
        opening["dtype"] = "bfloat16" if short else "float32"
    return load(name, **opening)


def tune_text(run: Run[TextConfig]) -> Outcome:
    """What was learned; the adapter or the model is left in the run's folder.

    A killed training goes on from its last checkpoint, to the same weights. UsageError for rows that can't be learned
    and modules that are not there, NumericError where the training diverges.
    """
    config, loaded, parts, target = run.settings, run.model, run.parts, run.folder.path / leaves(run.settings)
    encoded = encode_rows(loaded, read_text_rows(config.rows), config.most_tokens)
    learned, held_out = split(encoded.rows, config.held_out, config.seed)
    read = held_out or learned
    read = [read[index * len(read) // _READ] for index in range(_READ)] if len(read) > _READ else read
    assert parts.folder is not None
    # Among the parts, which are named for settings and weights: another run's checkpoints are not gone on with.
    checkpoints = parts.folder / "checkpoints"

    def train() -> dict[str, list[float]]:
        with learning(loaded, config) as learner:
            points = train_rows(loaded, learner.network, learned, config, checkpoints)
            with quiet(), whole_folder(target, replace=True) as folder:
                learner.save(folder)
            losses = [point.loss for point in points]
            return {"steps": [point.step for point in points], "losses": losses, "after": row_nats(loaded, read)}

    by_tag: dict[str, list[Encoding]] = {}
    for row in learned:
        by_tag.setdefault(row.tag, []).append(row)
    before = parts.json("before", lambda: row_nats(loaded, read))
    trained = parts.json("trained", train)
    result = TextResult(
        points=LoggedSeries(trained["steps"], trained["losses"]),
        before=before,
        after=trained["after"],
        held_out=bool(held_out),
        tags=[
            TagRows(tag=tag, rows=len(own), tokens=sum(len(row.ids) - row.given for row in own))
            for tag, own in by_tag.items()
        ],
        cut=len(encoded.cut),
        cut_tokens=sum(row.cut for row in encoded.cut),
        left_out=encoded.left_out,
        room=encoded.room,
        learns=f"An adapter of rank {config.rank}" if config.rank else "Every weight",
        look=look(Path("DIR"), config),
        seed=config.seed,
    )
    return Outcome(
        title=f"{loaded.name} tuned on {Path(config.rows).name}",
        measures=text_measures(result),
        findings=text_findings(result),
        sections=text_sections(result),
        data=[DataSource(name=f"rows of {config.rows}", package="", version="", licence="the user's own")],
    )


def split(rows: Sequence[Encoding], share: float, seed: int) -> tuple[list[Encoding], list[Encoding]]:
    """Rows to learn and rows held out, drawn by the seed, each in their order; none held out of too few."""
    count = round(share * len(rows))
    if count < _LEAST or count == len(rows):
        return list(rows), []
    drawn = {*random.Random(f"held out {seed}").sample(range(len(rows)), count)}
    return (
        [row for index, row in enumerate(rows) if index not in drawn],
        [row for index, row in enumerate(rows) if index in drawn],
    )
