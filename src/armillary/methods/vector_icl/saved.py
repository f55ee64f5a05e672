"""A projector on the disk: weights as safetensors, and in JSON what it belongs to; refused where that differs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from armillary.errors import ModelError, StorageError, UsageError
from armillary.methods.vector_icl.projector import Projector
from armillary.models.loaded import LoadedModel
from armillary.runs.atomic import write_atomic
from armillary.runs.plain import digest

WEIGHTS, SETTINGS, VERSION = "projector.safetensors", "projector.json", 1


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """What a projector has to know of the encoder whose vectors it was trained on."""

    name: str
    vector_size: int
    normalised: bool = False
    """Vectors were brought to unit length."""

    prefix: str = ""
    """Text that the encoder puts before each input ("query: ")."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over all of it."""
        return digest(asdict(self))[:16]


def save_projector(folder: Path | str, projector: Projector, loaded: LoadedModel, encoder: EncoderFacts) -> None:
    """``projector.safetensors`` and ``projector.json`` in ``folder``, made if need be.

    UsageError where the encoder's width is not the projector's; StorageError where a file can't be written.
    """
    if encoder.vector_size != projector.vector_size:
        raise UsageError(
            f"the encoder gives vectors of {encoder.vector_size} numbers, the projector takes {projector.vector_size}."
        )
    weights = {name: value.detach().cpu().contiguous() for name, value in projector.state_dict().items()}
    settings = {
        "version": VERSION,
        "projector": projector.settings(),
        "encoder": {**asdict(encoder), "fingerprint": encoder.fingerprint},
        "model": {"name": loaded.name, "fingerprint": loaded.fingerprint},
    }
    write_atomic(Path(folder) / WEIGHTS, save_tensors(weights))
    write_atomic(Path(folder) / SETTINGS, json.dumps(settings, indent=2) + "\n")


def load_projector(folder: Path | str, loaded: LoadedModel, encoder: EncoderFacts) -> Projector:
    """The projector in ``folder``, on the model's device.

    UsageError where it was trained with another encoder, ModelError where with another language model, StorageError
    where the files are missing, damaged or of another version.
    """
    settings = _settings(Path(folder))
    told, model = settings["encoder"], settings["model"]
    if told["fingerprint"] != encoder.fingerprint:
        raise UsageError(
            f"the projector in {folder} was trained on vectors of {_words(told)}; "
            f"these are of {_words(asdict(encoder))}."
        )
    if model["fingerprint"] != loaded.fingerprint:
        raise ModelError(
            f"the projector in {folder} was trained for {model['name']} ({model['fingerprint']}); "
            f"this model is {loaded.name} ({loaded.fingerprint})."
        )
    try:
        weights = load_tensors((Path(folder) / WEIGHTS).read_bytes())
        projector = Projector(**settings["projector"], dtype=next(iter(weights.values())).dtype)
        projector.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, TypeError, StopIteration, UsageError) as error:
        raise StorageError(f"the weights in {folder} can't be read or don't fit their settings.") from error
    return projector.to(loaded.device).eval()


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
        complete = {"projector", "encoder", "model"} <= settings.keys() and settings["version"] == VERSION
        complete = complete and "fingerprint" in settings["encoder"] and "fingerprint" in settings["model"]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise StorageError(f"{folder} holds no readable {SETTINGS}; save a projector there first.") from error
    if not complete:
        raise StorageError(f"{folder}/{SETTINGS} is not of version {VERSION} or lacks a part; save it anew.")
    return dict(settings)


def _words(encoder: dict[str, Any]) -> str:
    unit = ", unit length" if encoder["normalised"] else ""
    prefix = f", prefix {encoder['prefix']!r}" if encoder["prefix"] else ""
    return f"{encoder['name']} ({encoder['vector_size']} numbers{unit}{prefix})"
