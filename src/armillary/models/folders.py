"""What a folder holds: a whole model that transformers can read, or in one sentence what it holds instead."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from armillary.errors import ModelError, StorageError
from armillary.files import read_object
from armillary.models.quiet import reason

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The two forms in which transformers looks for weights; a folder with others holds something else."""

_ADAPTER = "adapter_config.json"
_STATE = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler|random_states)[\w.]*|trainer_state\.json")
_NO_WEIGHTS = re.compile(rf"{_STATE.pattern}|openvino.*")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHER_FORMATS = (
    ("*.onnx", "ONNX"), ("onnx/*.onnx", "ONNX"), ("openvino*.xml", "OpenVINO"), ("openvino/*.xml", "OpenVINO"),
    ("*.mlpackage", "Core ML"), ("*.mlmodel", "Core ML"), ("tf_model*.h5", "TensorFlow"), ("*.tflite", "TensorFlow"),
    ("saved_model.pb", "TensorFlow"), ("flax_model*.msgpack*", "Flax"), ("*.ot", "Rust"), ("*.npz", "NumPy"),
    ("*.nemo", "NeMo"), ("*.engine", "TensorRT"),
)  # fmt: skip


def require_readable(folder: Path) -> None:
    """Raises ModelError where a folder is no whole model, saying what it holds instead or which part is not there."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise ModelError(f"{folder} can't be read: {error.strerror or error}.") from error
    problem = _another_kind(names)
    if problem is None and ("config.json" not in names or not {WEIGHTS, INDEX} & set(names)):
        problem = _instead(folder, names)
    if problem is not None:
        raise ModelError(f"{folder} {problem}")
    settings = read_settings(folder)
    how = settings.get("quantization_config", settings.get("quantization"))
    if isinstance(how, dict) and "quant_method" not in how and "group_size" in how:
        raise ModelError(f"{folder} is quantised by MLX, which only MLX reads; give the model that it was made from.")
    for path, tensors in _weight_files(folder):
        absent = sorted(tensors - stored_tensors(path).keys())
        if absent:
            raise ModelError(f"{path} lacks {absent[0]}, which {INDEX} looks for in it; write the model anew.")


def _another_kind(names: list[str]) -> str | None:
    if "model_index.json" in names:
        return "is a pipeline of diffusers, not a language model; give a language model's folder."
    if "modules.json" in names or "config_sentence_transformers.json" in names:
        return "is a model of sentence-transformers, which gives vectors and no next tokens; give a language model."
    if _ADAPTER not in names:
        return None
    if WEIGHTS in names or INDEX in names:
        return f"holds a whole model and an adapter, so it is not sure which is meant; move {_ADAPTER} or the model."
    return "holds an adapter, not a whole model; merge it into its base (merge_and_unload) and save that."


def _instead(folder: Path, names: list[str]) -> str:
    """What a folder without configuration or without weights holds, and what to give instead."""
    for place in (folder, folder / "brick"):  # of a brick itself, or of the run that made it
        if (place / "brick.json").is_file():
            return _brick(place)
    steps = sorted((int(name[11:]), name) for name in names if re.fullmatch(r"checkpoint-\d+", name))
    ggufs = [name for name in names if name.lower().endswith(".gguf") and "mmproj" not in name.lower()]
    has = "has a config.json but no weights" if "config.json" in names else "has no config.json"
    if steps:
        return f"{has} of its own, only checkpoints of a training run; give the newest, {folder / steps[-1][1]}."
    if "snapshots" in names and "refs" in names:
        revisions = [path.name for path in sorted((folder / "snapshots").iterdir())]
        return (
            f"is a model's place in the hub's cache; give {folder / 'snapshots' / (revisions or ['<revision>'])[-1]}."
        )
    if ggufs:
        more = f" or another of its {len(ggufs)} files" if len(ggufs) > 1 else ""
        return f"{has}, so it is not a model's folder; give the file {folder / ggufs[0]}{more}."
    if any(re.fullmatch(r"global_step\d+|zero_to_fp32\.py|.*zero_pp_rank.*|mp_rank.*", name) for name in names):
        return "has no weights of a model, only a checkpoint of DeepSpeed; write them with its zero_to_fp32.py."
    if any("fsdp" in name.lower() or name.endswith(".distcp") for name in names):
        return "has no weights of a model, only a sharded checkpoint of FSDP; join it with accelerate merge-weights."
    if "adapter_model.safetensors" in names or "adapter_model.bin" in names:
        return f"holds the weights of an adapter but no {_ADAPTER}; give a whole model."
    if any(name.startswith("consolidated") for name in names):
        return "holds weights in its maker's own format (consolidated), without those for transformers; fetch these."
    shards = [name for name in names if name.endswith(".safetensors")]
    if shards and "config.json" not in names:
        return f"has weights ({shards[0]}) but no config.json, so it is not a model's folder; put it beside them."
    if any(re.search(r"-\d+-of-\d+\.safetensors$", name) for name in shards):
        return f"has parts of weights ({shards[0]}) but no {INDEX}, which says what they hold; fetch or write it."
    if shards:
        return f"has {shards[0]} where {WEIGHTS} is looked for; give it that name if it holds the whole model."
    pickles = [name for name in names if name.endswith(_PICKLED) and not _NO_WEIGHTS.fullmatch(name)]
    if pickles:
        return (
            f"holds only pickled weights ({pickles[0]}), and only safetensors are read because unpickling can run "
            "code; if you trust the file, open it once with transformers' from_pretrained and write it with "
            "save_pretrained."
        )
    for pattern, format_name in _OTHER_FORMATS:
        if any(folder.glob(pattern)):
            return f"holds a model in the format of {format_name}; give a folder with safetensors."
    if any(_STATE.fullmatch(name) for name in names):
        return "has no weights of a model, only the state of a training run; save the model with save_pretrained."
    if "config.json" not in names and any(name.startswith("tokenizer") for name in names):
        return "holds a tokenizer but no model; give the folder of a model."
    if "config.json" in names:
        return "has a config.json but no weights (*.safetensors)."
    return "has no config.json, so it is not a model's folder; give a folder that save_pretrained wrote."


def _brick(folder: Path) -> str:
    """What the brick in a folder is for."""
    if (folder / _ADAPTER).is_file():
        return f"holds no model of its own; give the adapter that was made, {folder}."
    try:
        payload = read_object(folder / "brick.json").get("payload")
    except StorageError as error:
        raise ModelError(str(error)) from error
    if isinstance(payload, dict) and payload.get("type") == "thresholds":
        return (
            "holds thresholds that leave out small inputs, not a model; open the base and run it with them: "
            f"armillary.methods.bricks.sparsified(armillary.load(BASE), {str(folder)!r})."
        )
    return "holds a part of a model (a brick), not a whole model; give the base that it was made for."


def read_settings(folder: Path) -> Mapping[str, Any]:
    """What config.json holds; ModelError where it can't be read."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a valid JSON file ({reason(error)}).") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{path} holds no JSON object, so it is no model's configuration.")
    return settings


def _weight_files(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """The files that transformers reads, each with the tensors that the index looks for in it."""
    index = folder / INDEX
    if not index.is_file():
        yield folder / WEIGHTS, set()
        return
    try:
        where: Mapping[str, str] = json.loads(index.read_bytes())["weight_map"]
        files = {str(name): {key for key, file in where.items() if file == name} for name in where.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} can't be read as the index of weights ({reason(error)}).") from error
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in files):
        raise ModelError(f"{index} names other files than safetensors in the same folder; fetch or write it anew.")
    absent = [name for name in sorted(files) if not (folder / name).is_file()]
    if (folder / WEIGHTS).exists() and set(files) != {WEIGHTS}:
        raise ModelError(
            f"{folder} holds {WEIGHTS} and an index of other files, so it is not sure which is meant; move one away."
        )
    if absent:
        raise ModelError(f"{folder} lacks {absent[0]}, which {INDEX} names; fetch or write the model again.")
    for name, tensors in files.items():
        yield folder / name, tensors


@dataclass(frozen=True)
class Stored:
    """One tensor in a file, as its header says."""

    path: Path
    dtype: str
    """As safetensors writes it: "F32", "U8"."""


def stored_tensors(path: Path) -> dict[str, Stored]:
    """What a file of safetensors holds, by name. ModelError where it is cut short or no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: Stored(path, file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        if path.is_symlink() and not path.exists():
            raise ModelError(f"{path} is a link to a file that is not there; fetch the model again.") from error
        if path.is_file() and path.read_bytes()[:20].startswith(b"version https://git"):
            raise ModelError(f"{path} is a pointer of Git LFS, not the weights; run git lfs pull.") from error
        raise ModelError(f"{path} is cut short or damaged ({reason(error)}); fetch or write it again.") from error


def stored_weights(folder: Path) -> dict[str, Stored]:
    """What the files of a readable folder hold, by name."""
    return {name: stored for path, _ in _weight_files(folder) for name, stored in stored_tensors(path).items()}


def quantisation(settings: Mapping[str, Any]) -> str | None:
    """The method by which weights are packed, as config.json says; None for plain weights."""
    how = settings.get("quantization_config")
    if how is None:
        return None
    return str(how.get("quant_method", "without a named method")) if isinstance(how, dict) else str(how)
