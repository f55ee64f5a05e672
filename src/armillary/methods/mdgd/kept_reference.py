"""Which weights drift is measured from, also after a run was killed: taken once, kept in the run's folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.trainer_utils import get_last_checkpoint

from armillary.errors import UsageError
from armillary.methods.mdgd.calibration import dataset_batches, unchanged_random
from armillary.methods.mdgd.reference import AdapterReference, CopiedReference, StateReference, weights_digest
from armillary.methods.mdgd.reference_cache import CachedReference
from armillary.runs.atomic import write_atomic

if TYPE_CHECKING:
    from armillary.methods.mdgd.trainer import MDGDMixin

RECORD, STATES = "visual_reference.json", "visual_reference.safetensors"


def take_reference(trainer: "MDGDMixin", *, resuming: str | bool | None) -> StateReference:
    """The states before training of the trainer's kind, from its model as it is now or its ``reference_model``.

    A resumed run must be given the weights that it began with, and finds its cache again. UsageError where it is given
    others.
    """
    kind = trainer.settings.reference
    model: nn.Module = trainer.reference_model if trainer.reference_model is not None else trainer.network
    if kind == "auto":
        kind = "adapter" if hasattr(model, "disable_adapter") else "copy"
    if kind == "adapter":
        return AdapterReference(model, trainer.layers)
    folder = _folder(trainer, resuming)
    states = folder / STATES
    if resuming and kind == "cache" and states.exists():
        cache = CachedReference.load(states)
        if cache.layers == trainer.layers:
            return cache
    model.to(trainer.args.device)
    digest = weights_digest(model) if model is trainer.network else None
    if resuming:
        _check_beginning(folder / RECORD, digest)
    reference = CopiedReference(model, trainer.layers) if kind == "copy" else _cached(trainer, model)
    if trainer.is_world_process_zero() and not resuming:
        write_atomic(folder / RECORD, json.dumps({"weights": digest, "layers": list(trainer.layers)}))
        if isinstance(reference, CachedReference):
            reference.save(states)
    return reference


def _cached(trainer: "MDGDMixin", model: nn.Module) -> CachedReference:
    if not hasattr(trainer.train_dataset, "__len__"):
        raise UsageError("reference='cache' needs a training set of known length; use 'copy' for a stream.")
    with unchanged_random(trainer.args.device), trainer.accelerator.autocast():
        return CachedReference.build(
            model,
            dataset_batches(trainer),
            trainer.layers,
            limit_gib=trainer.settings.reference_cache_gib,
            processor_marks=trainer.processor_marks,
        )


def _folder(trainer: "MDGDMixin", resuming: str | bool | None) -> Path:
    """The run's folder: where checkpoints lie."""
    found: Any = get_last_checkpoint(trainer.args.output_dir) if resuming is True else resuming
    return Path(found).parent if found else Path(str(trainer.args.output_dir))


def _check_beginning(record: Path, digest: str | None) -> None:
    if record.exists() and digest is not None:
        began = json.loads(record.read_text("utf-8"))["weights"]
        if began not in (None, digest):
            raise UsageError(
                "the model to resume with is not the one that the run began with, so its image states are no "
                "reference; give the pre-trained model (its checkpoint is loaded by resuming), or reference_model."
            )
