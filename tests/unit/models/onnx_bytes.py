"""ONNX files for tests, written by hand: protocol buffers as the reader must find them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import Dinov2Config, Dinov2Model

from armillary.models.dinov2 import Node, OnnxGraph

FLOAT32, INT64 = 1, 7


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, array: NDArray[np.generic], kind: int = FLOAT32, *, packed: bool = False) -> bytes:
    sizes = [field(1, b"".join(varint(n) for n in array.shape))] if packed else [field(1, n) for n in array.shape]
    return b"".join([*sizes, field(2, kind), field(8, name.encode()), field(9, array.tobytes())])


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    attribute = field(5, field(1, b"axis") + varint(2 << 3 | 5) + b"\0\0\0\0")  # a field that is passed over
    names = [field(1, name.encode()) for name in inputs] + [field(2, name.encode()) for name in outputs]
    return b"".join([*names, field(3, b"a name"), field(4, kind.encode()), attribute])


def onnx_bytes(nodes: Sequence[bytes], tensors: Sequence[bytes]) -> bytes:
    graph = b"".join([field(1, one) for one in nodes] + [field(2, b"main")] + [field(5, one) for one in tensors])
    return field(1, 8) + field(2, b"a producer") + field(7, graph)


def tiny_tower(layers: int = 3) -> Dinov2Model:
    """A random DINOv2 of 6x6 patches with values in all its parameters."""
    config = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=1,
        mlp_ratio=2,
        image_size=24,
        patch_size=4,
        use_mask_token=False,
        initializer_range=0.3,
    )
    return Dinov2Model(config).eval()


def exported(tower: Dinov2Model) -> OnnxGraph:
    """The graph that exporting a tower leaves: named but for matrices and positions, in a network that goes on."""
    old = {
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
        "o_proj": "output.dense",
    }
    weights: dict[str, NDArray[np.float32]] = {}
    nodes: list[Node] = []
    for name, parameter in tower.state_dict().items():
        array = parameter.numpy()
        for new, exported_name in old.items():
            name = name.replace(f"attention.{new}", f"attention.{exported_name}")
        if name == "embeddings.position_embeddings":
            weights |= {"onnx::Concat_7": array[:, :1], "onnx::Reshape_9": array[:, 1:]}
        elif name.endswith(".weight") and array.ndim == 2:
            matrix, product = f"onnx::MatMul_{len(weights)}", f"/product_{len(weights)}"
            weights[matrix] = np.ascontiguousarray(array.T)
            bias = f"backbone.{name.removesuffix('.weight')}.bias"
            inputs = (bias, product) if len(nodes) % 4 else (product, bias)
            nodes += [Node("MatMul", ("x", matrix), (product,)), Node("Add", inputs, (f"{product}_sum",))]
        else:
            weights[f"backbone.{name}"] = array
    weights |= {"onnx::MatMul_head": np.ones((16, 2), np.float32), "head.bias": np.ones(2, np.float32)}
    nodes += [Node("MatMul", ("x", "onnx::MatMul_head"), ("/h",)), Node("Add", ("/h", "head.bias"), ("/out",))]
    return OnnxGraph(weights, tuple(nodes))


def graph_bytes(graph: OnnxGraph) -> bytes:
    nodes = [node(one.kind, one.inputs, one.outputs) for one in graph.nodes]
    return onnx_bytes(nodes, [tensor(name, array) for name, array in graph.weights.items()])
