"""Reading a GGUF file faster gives every field, every byte of a tensor and every file of a conversion as before."""

import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import (
    GGMLQuantizationType as Packing,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    dequantize,
    quantize,
)
from safetensors.numpy import load_file
from transformers import modeling_gguf_pytorch_utils as gguf_tensors

from armillary.models import gguf_file, tiny
from armillary.models.gguf_reader import QuickReader, quick

from .conftest import gguf_name, gguf_twin, write_gguf

PACKED = {
    "token_embd.weight": Packing.Q8_0,
    "output.weight": Packing.Q4_0,
    "blk.0.attn_q.weight": Packing.Q4_1,
    "blk.0.attn_k.weight": Packing.Q8_0,
    "blk.0.attn_v.weight": Packing.Q5_0,
    "blk.0.attn_output.weight": Packing.Q5_1,
    "blk.0.ffn_gate.weight": Packing.F16,
    "blk.0.ffn_up.weight": Packing.BF16,
    "blk.0.ffn_down.weight": Packing.Q4_1,
    "blk.1.ffn_down.weight": Packing.TQ2_0,
}
"""Every packing that the package can write of its own."""


def every_kind(out: GGUFWriter) -> None:
    """A field of every kind of value that a file can hold, and arrays of each."""
    for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64):
        limits = np.iinfo(kind)
        getattr(out, f"add_{kind.__name__}")(f"own.{kind.__name__}", int(limits.max))
        values, sub_type = [int(limits.min), 3, int(limits.max)], GGUFValueType[kind.__name__.upper()]
        out.add_key_value(f"own.{kind.__name__}s", values, GGUFValueType.ARRAY, sub_type=sub_type)
    out.add_float32("own.float32", 0.1)
    out.add_float64("own.float64", 0.1)
    out.add_bool("own.bool", True)
    out.add_array("own.floats", [0.5, -1e30])
    out.add_array("own.bools", [True, False])
    out.add_array("own.strings", ["", "é日😀", "two words", ""])
    out.add_array("own.nested", [[1, 2], [3]])


def test_fields_and_tensors_are_those_of_the_package(tmp_path: Path) -> None:
    path = write_gguf(gguf_twin(), tmp_path / "a.gguf", every_kind)
    plain, fast = GGUFReader(path), QuickReader(path)
    assert list(plain.fields) == list(fast.fields) and len(plain.fields) > 40
    for name, field in plain.fields.items():
        own = fast.fields[name]
        assert (own.offset, own.data, own.types) == (field.offset, field.data, field.types), name
        assert [bytes(part) for part in own.parts] == [bytes(part) for part in field.parts], name
        assert own.contents() == field.contents(), name
    assert fast.fields["own.strings"].contents() == ["", "é日😀", "two words", ""]
    for tensor, own_tensor in zip(plain.tensors, fast.tensors, strict=True):
        assert (tensor.name, tensor.tensor_type) == (own_tensor.name, own_tensor.tensor_type)
        assert tensor.data.tobytes() == own_tensor.data.tobytes() and tensor.data.shape == own_tensor.data.shape


def test_a_file_of_the_other_byte_order_is_read_too(tmp_path: Path) -> None:
    out = GGUFWriter(tmp_path / "a.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    out.add_array("own.strings", ["one", "two"])
    out.add_array("own.numbers", [1, 2, 3])
    out.add_tensor("weight", np.arange(4, dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    fields = QuickReader(tmp_path / "a.gguf").fields
    assert fields["own.strings"].contents() == ["one", "two"] and fields["own.numbers"].contents() == [1, 2, 3]


@pytest.mark.parametrize("array", ["own.strings", "own.int32s"])
def test_an_array_that_goes_on_behind_the_end_is_an_error(array: str, tmp_path: Path) -> None:
    path = write_gguf(gguf_twin(), tmp_path / "a.gguf", every_kind)
    field = QuickReader(path).fields[array]
    # Cut inside the last value of the array: its bytes are not there.
    end = field.offset + sum(len(bytes(part)) for part in field.parts)
    cut = path.read_bytes()[: end - 1] if array == "own.int32s" else _longer(path, field.offset + len(array))
    path.write_bytes(cut)
    with pytest.raises((ValueError, struct.error)):
        QuickReader(path)


def _longer(path: Path, around: int) -> bytes:
    """The file, whose first string of the array near this place says that it is longer than all of the file."""
    data = bytearray(path.read_bytes())
    start = around + 8 + 4 + 4 + 8
    assert data[start : start + 8] == bytes(8)  # the first string is the empty one
    data[start : start + 8] = struct.pack("<Q", len(data))
    return bytes(data)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_conversion_is_the_same_to_the_last_byte(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, object] | None = {"head_dim": 128} if kind == "qwen3" else None
    truth = tiny(kind, intermediate=256, settings=settings)
    path = write_gguf(truth, tmp_path / "a.gguf", packed=PACKED)
    folders = {way: tmp_path / way for way in ("fast", "plain")}
    tables: list[object] = []
    made = gguf.get_tensor_name_map

    def counted(arch: gguf.MODEL_ARCH, layers: int) -> gguf.TensorNameMap:
        tables.append(arch)
        return made(arch, layers)

    with monkeypatch.context() as patch:
        patch.setattr(gguf, "get_tensor_name_map", counted)
        gguf_file.convert(path, folders["fast"], lambda: None)
        assert len(tables) == 1  # for all of the model's modules
        patch.setattr(gguf_file, "quick", nullcontext)
        patch.setattr(gguf_file, "QuickReader", GGUFReader)
        gguf_file.convert(path, folders["plain"], lambda: None)
    files = {way: {one.name: one.read_bytes() for one in folder.iterdir()} for way, folder in folders.items()}
    assert files["fast"] == files["plain"] and "tokenizer.json" in files["fast"]
    weights = load_file(folders["fast"] / "model.safetensors")
    packed = {name: PACKED[gguf_name(name)] for name in truth.model.state_dict() if gguf_name(name) in PACKED}
    assert len(packed) == len(PACKED)
    for name, packing in packed.items():
        expected = dequantize(quantize(truth.model.state_dict()[name].numpy(), packing), packing)
        unpacked = weights[name]
        if kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            # llama.cpp has the rows of queries and keys in another order, which is undone.
            expected, unpacked = (np.sort(rows, axis=0) for rows in (expected, unpacked))
        np.testing.assert_array_equal(unpacked.view(np.uint32), expected.view(np.uint32), err_msg=name)


def test_what_is_put_in_place_is_taken_away_again() -> None:
    def places() -> list[Callable[..., object]]:
        return [gguf.GGUFReader, gguf.get_tensor_name_map, vars(gguf_tensors)["tqdm"]]

    before = places()
    with pytest.raises(KeyError), quick():
        assert places()[0] is QuickReader and not set(places()) & set(before)
        raise KeyError
    assert places() == before
