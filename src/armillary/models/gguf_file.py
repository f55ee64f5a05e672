"""GGUF files, unpacked once to float32 safetensors: packed weights can't be trained and are slower."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils

from armillary.errors import ModelError
from armillary.fetch import cache
from armillary.files import no_space, sha256_of
from armillary.models.quiet import quiet, reason, refuse_gaps
from armillary.progress import counted

CONVERTER = 2
"""Raised with every change here that gives other tensors, settings or tokens; 2 reads rope_freqs."""


def converter_version() -> str:
    """What a conversion depends on beside the file: our part, and the libraries that unpack tensors and tokenizer."""
    return f"converter {CONVERTER}, transformers {version('transformers')}, gguf {version('gguf')}"


def converted(path: Path) -> Path:
    """The folder with the model of a ``.gguf`` file, converted at first use and then taken from the cache.

    The cache goes by the file's sha256, so a renamed file is known and a changed one is not mixed up, and by
    ``converter_version``: another version reads the file anew.
    ModelError where the file is not GGUF, is cut short, or holds an architecture that transformers can't read.
    """
    folder = cache.slot(f"gguf-{sha256_of(path)[:32]}", converter_version())
    if cache.intact(folder):
        return folder
    parameters = count_parameters(path)

    def make(result: Path, _scratch: Path) -> None:
        with counted(f"convert {path.name}", CONVERT_STEPS) as steps:
            convert(path, result, steps.advance)

    return cache.build(folder, make, needed=4 * parameters + 100_000_000)


def count_parameters(path: Path) -> int:
    """Number of weights in a GGUF file; reading them all up shows that the file is whole."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file (it does not begin with the letters GGUF).")
    try:
        return int(sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors))
    except Exception as error:  # the reader meets a short file with whatever its parsing runs into
        raise ModelError(f"{path} is cut short or damaged ({reason(error)}); fetch the file again.") from error


CONVERT_STEPS = 3


def convert(path: Path, folder: Path, step: Callable[[], None]) -> None:
    """Writes config, float32 safetensors and the fast tokenizer of a GGUF file into ``folder``.

    ``step`` is called ``CONVERT_STEPS`` times. ModelError where transformers can't read the file.
    """
    try:
        with quiet(), _without_bar():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            step()
            opened: Any = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told by refuse_gaps in our words
            )
            refuse_gaps(opened[1], path.name)
            step()
            opened[0].save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            step()
    except ModelError:
        raise
    except Exception as error:
        if no_space(error):
            raise cache.storage_error(error, folder) from error
        raise ModelError(f"transformers can't read {path.name} ({reason(error)}).") from error


@contextmanager
def _without_bar() -> Iterator[None]:
    """transformers counts a GGUF file's tensors by a bar that its own settings don't turn off."""
    names = vars(modeling_gguf_pytorch_utils)
    bar = names.get("tqdm")
    if bar is None:
        yield
        return
    names["tqdm"] = _plain
    try:
        yield
    finally:
        names["tqdm"] = bar


def _plain(items: Iterable[object], *_: object, **__: object) -> Iterable[object]:
    return items
