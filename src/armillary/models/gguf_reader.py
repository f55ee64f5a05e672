"""Header and vocabulary of a GGUF file, and transformers' way through one, without what made both slow.

Of 19 s of processor time that SmolLM2's file took, less than 3 went into its weights. The file is parsed four times,
which was three slices of a memory map for each string of the vocabulary; and transformers made the table of tensor
names anew for each of the model's modules. Without either it is 4 to 5 s.
"""

import functools
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import gguf
import numpy as np
from gguf import GGUFReader, GGUFValueType
from transformers import modeling_gguf_pytorch_utils as gguf_tensors


class QuickReader(GGUFReader):
    """The fields and tensors that ``GGUFReader`` finds; arrays are read in one pass over the file's bytes."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        """Size of a field's value in bytes, its parts, the places of its data among them, and its types.

        ValueError or struct.error where the file ends before the value does.
        """
        # Values of another byte order, and of arrays in arrays, are left to the package.
        if int(raw_type) != GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        view = self.data.data
        kind, count = struct.unpack_from("=IQ", view, orig_offs)
        kind, start = GGUFValueType(kind), orig_offs + 12
        width = self.gguf_scalar_to_np.get(kind)
        if kind != GGUFValueType.STRING and width is None:
            return super()._get_field_parts(orig_offs, raw_type)
        parts: list[Any] = [self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)]
        end = start
        if width is None:
            length_of = struct.Struct("=Q").unpack_from
            for _ in range(count):
                text = end + 8
                (length,) = length_of(view, end)
                end = text + length
                parts += (view[text - 8 : text], view[text:end])
            places = [*range(3, 3 + 2 * count, 2)]
        else:
            end += count * np.dtype(width).itemsize
            if end <= len(view):
                values = np.frombuffer(view, width, count, start)
                parts += (values[place : place + 1] for place in range(count))
            places = [*range(2, 2 + count)]
        if end > len(view):
            raise ValueError("an array goes on behind the end of the file")
        return end - orig_offs, parts, places, [GGUFValueType.ARRAY, *[kind][:count]]


@contextmanager
def quick() -> Iterator[None]:
    """Inside the block transformers reads GGUF files by ``QuickReader``, makes the table of a model's tensor names
    once, and draws no bar, which its own settings don't turn off.

    What is put in place gives the same results: another thread that reads a file meanwhile sees no difference.
    """
    quicker: list[tuple[Any, str, Any]] = [
        (gguf, "GGUFReader", QuickReader),
        # One model at a time is opened: the table of the last one is enough.
        (gguf, "get_tensor_name_map", functools.lru_cache(maxsize=1)(gguf.get_tensor_name_map)),
        (gguf_tensors, "tqdm", _plain),
    ]
    before = [(module, name, vars(module)[name]) for module, name, _ in quicker if name in vars(module)]
    for module, name, value in quicker:
        if name in vars(module):
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _plain(items: Iterable[object], *_: object, **__: object) -> Iterable[object]:
    return items
