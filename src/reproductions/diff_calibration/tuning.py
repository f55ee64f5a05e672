"""The planted tunes: rows of text learned as ``armillary train text`` learns them."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.files import whole_folder
from armillary.finetuning.text.config import TextConfig
from armillary.finetuning.text.rows import TuningRow, encode_rows
from armillary.finetuning.text.training import learning, train_rows
from armillary.models import LoadedModel
from armillary.models.quiet import quiet
from reproductions.diff_calibration.scale import Recipe


def tune(loaded: LoadedModel, rows: Sequence[TuningRow], recipe: Recipe, folder: Path) -> list[float]:
    """Nats a learned token of each step; leaves an adapter (PEFT's folder) or the whole model in ``folder``.

    ``loaded`` is changed by a training of all weights, and not by one of an adapter. Errors as in ``train_rows``.
    """
    config = TextConfig(
        rows="",
        model=loaded.name,
        rank=recipe.rank or 0,
        alpha=None if recipe.rank is None else 4 * recipe.rank,
        modules=() if recipe.rank is None else recipe.modules,
        top_share=1.0 if recipe.rank is None else 0.5,
        steps=recipe.steps,
        batch_size=recipe.batch,
        learning_rate=recipe.rate,
        most_tokens=recipe.most_tokens,
        seed=recipe.seed,
    )
    encoded = encode_rows(loaded, rows, recipe.most_tokens).rows
    with TemporaryDirectory() as scratch, learning(loaded, config) as learner:
        curve = train_rows(loaded, learner.network, encoded, config, Path(scratch), points=recipe.steps)
        with quiet(), whole_folder(folder, replace=True) as whole:
            learner.save(whole)
    return [point.loss for point in curve]
