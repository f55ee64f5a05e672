"""The float32 weights and the nodes of an ONNX file, read without the onnx package.

ONNX is protocol buffers: a message is a run of (field number, wire type, value). The few fields needed here are
ModelProto.graph (7); GraphProto.node (1) and .initializer (5); NodeProto.input (1), .output (2), .op_type (4);
TensorProto.dims (1), .data_type (2), .name (8), .raw_data (9) (onnx.proto3 of ONNX 1.x).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armillary.errors import ModelError

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
        for number, value in _inside(memoryview(path.read_bytes()), 7):
            if number == 1:
                nodes.append(_node(value))
            elif number == 5 and (named := _tensor(value)) is not None:
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


def _inside(data: memoryview, number: int) -> Iterator[tuple[int, memoryview]]:
    """The message fields of the messages at field ``number``."""
    for found, message in _fields(data):
        if found == number and isinstance(message, memoryview):
            yield from ((inner, value) for inner, value in _fields(message) if isinstance(value, memoryview))


def _node(data: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    for number, value in _fields(data):
        if number in texts and isinstance(value, memoryview):
            texts[number].append(str(value, "utf-8"))
    return Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2]))


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
