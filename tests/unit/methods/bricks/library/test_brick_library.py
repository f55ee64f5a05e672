"""Bricks on disk: whole or not there, named by content, refused where they were tampered with."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ArmillaryError, StorageError, UsageError
from armillary.methods.bricks.brick import Brick, BrickMeta, CapabilityScore, Keys, Provenance
from armillary.methods.bricks.library import folder as brick_folder
from armillary.methods.bricks.library.brick_library import BrickLibrary
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.payloads import Index, LowRank, Partition
from armillary.models import LoadedModel, tiny
from armillary.numerics.intervals import Interval

from ..bricks_toy import lora, lora_brick

ENCODER = "counts of letters"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny()


def letters(texts: list[str]) -> np.ndarray:
    """An encoder: how often each letter stands in a text."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return np.array([[text.lower().count(letter) for letter in alphabet] for text in texts], dtype=np.float32)


letters.name = ENCODER  # type: ignore[attr-defined]


def keyed(loaded: LoadedModel, seed: int, text: str, encoder: str = ENCODER) -> Brick:
    """A brick that is found by a text."""
    row = letters([text])
    keys = Keys(values_KQ=row / np.linalg.norm(row), encoder=encoder)
    score = CapabilityScore(metric="nats gained", value=Interval(estimate=0.4, low=0.3, high=0.5, n=10))
    meta = BrickMeta(keys=keys, capability={text: score}, provenance=Provenance(licence="CC0-1.0"))
    return Brick.of(loaded, lora(loaded, seed), name=text, meta=meta)


def three(loaded: LoadedModel) -> list[Brick]:
    """One brick of each payload."""
    split = np.stack([np.random.default_rng(layer).permutation(48) % 5 for layer in range(2)])
    return [
        lora_brick(loaded, 0),
        Brick.of(loaded, Index({0: np.array([1, 47]), 1: np.arange(9)}), name="neurons", op="keep"),
        Brick.of(loaded, Partition(split, 5), name="split"),
    ]


def test_what_is_added_comes_back_equal(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path / "library")
    for brick in three(loaded):
        brick_id = library.add(brick)
        again = library.get(brick_id[:10])
        assert again.id == brick.id == brick_id and again.to_dict() == brick.to_dict()
        assert library.add(brick) == brick_id
    assert len(library.entries()) == 3
    split = library.get(three(loaded)[2].id).payload
    assert isinstance(split, Partition) and np.array_equal(split.labels_LM, three(loaded)[2].payload.labels_LM)


def test_the_layout_is_what_is_promised(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    adapter, neurons, _ = (library.add(brick) for brick in three(loaded))
    result = library.add(keyed(loaded, 5, "zebra"))
    assert {path.name for path in (tmp_path / "bricks" / neurons).iterdir()} == {"brick.json", "brick.safetensors"}
    assert {path.name for path in (tmp_path / "bricks" / adapter).iterdir()} == {
        "brick.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    tensors = load_arrays(tmp_path / "bricks" / neurons / "brick.safetensors")
    assert {name: value.dtype.name for name, value in tensors.items()} == {"0.neurons": "int32", "1.neurons": "int32"}
    index = json.loads((tmp_path / "library.json").read_text())
    assert index["format"] == 1 and index["encoder"]["name"] == ENCODER and len(index["bricks"]) == 4
    line = next(line for line in index["bricks"] if line["id"] == result)
    assert {"id", "name", "granularity", "base", "capabilities", "bytes"} <= set(line)
    assert line["capabilities"] == ["zebra"]
    keys = load_arrays(tmp_path / "keys.safetensors")
    assert keys["keys"].dtype == np.float32 and keys["owner"].dtype == np.int32
    assert index["bricks"][keys["owner"][0]]["id"] == result


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_peft_loads_a_bricks_folder_unchanged(loaded: LoadedModel, tmp_path: Path) -> None:
    library, brick = BrickLibrary(tmp_path), three(loaded)[0]
    model = PeftModel.from_pretrained(tiny().model, library.folder(library.add(brick)))
    path = "model.layers.1.mlp.down_proj"
    delta = model.base_model.model.get_submodule(path).get_delta_weight("default")
    torch.testing.assert_close(delta, brick.payload.delta(path), rtol=1e-6, atol=1e-7)


def test_only_the_layers_asked_for_are_read(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    adapter, neurons, split = three(loaded)
    for brick in (adapter, neurons, split):
        library.add(brick)
    part = library.get(neurons.id, layers=[1])
    assert isinstance(part.payload, Index) and set(part.payload.neurons) == {1}
    assert part.parents == (neurons.id,) and part.id != neurons.id
    low = library.get(adapter.id, layers=[0])
    assert isinstance(low.payload, LowRank) and len(low.payload.factors) == len(adapter.sites) // 2
    assert all(torch.equal(low.payload.factors[p][0], adapter.payload.factors[p][0]) for p in low.payload.factors)
    for brick_id, layers in ((split.id, [0]), (neurons.id, [9])):
        with pytest.raises(StorageError, match="in part"):
            library.get(brick_id, layers=layers)


def test_the_index_can_be_made_again(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    for seed, text in enumerate(("zebra", "quick fox", "jumping")):
        library.add(keyed(loaded, seed, text))
    held = {name: (tmp_path / name).read_bytes() for name in ("library.json", "keys.safetensors")}
    for name in held:
        (tmp_path / name).unlink()
    assert library.rebuild() == 3
    assert {name: (tmp_path / name).read_bytes() for name in held} == held
    (tmp_path / "library.json").write_text("{")
    with pytest.raises(StorageError, match="rebuild the library"):
        library.entries()
    library.rebuild()
    library.remove(library.entries()[0].id)
    assert len(library.entries()) == 2 and len(library.keys()[1]) == 2


def test_search_finds_the_brick_of_an_input_and_says_none(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    ids = {text: library.add(keyed(loaded, seed, text)) for seed, text in enumerate(("zebra", "quick fox", "jump"))}
    zebra, nothing = library.search(["a zebra", "hhhh"], encoder=letters, k=2, threshold=0.6)
    assert zebra.chosen[0].brick == ids["zebra"] and zebra.chosen[0].score > 0.8
    assert nothing.none and "base model runs alone" in nothing.sentence
    assert library.search("fox, quick", encoder=letters)[0].chosen[0].brick == ids["quick fox"]
    with pytest.raises(UsageError, match="'counts of letters'; the one given is 'another'"):
        library.search("x", encoder=letters, name="another")
    with pytest.raises(UsageError, match="the brick's are of 'another'"):
        library.add(keyed(loaded, 9, "late", encoder="another"))
    assert len(library.entries()) == 3
    with pytest.raises(UsageError, match="has keys"):
        BrickLibrary(tmp_path / "empty").search("x", encoder=letters)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_an_interrupted_add_leaves_nothing(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Any
) -> None:
    library = BrickLibrary(tmp_path)
    library.add(three(loaded)[1])
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def fail(*_: object) -> None:
        raise stop

    monkeypatch.setattr(brick_folder.adapters, "adapter_files", fail)
    with pytest.raises((KeyboardInterrupt, StorageError, MemoryError)) as raised:
        library.add(three(loaded)[0])
    if isinstance(stop, OSError):
        assert "no space left" in str(raised.value)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    monkeypatch.undo()
    library.add(three(loaded)[0])
    assert len(library.entries()) == 2


def test_what_a_killed_writer_left_is_cleared(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    stale = tmp_path / "bricks" / ".0123456789abcdef.armillary-tmp"
    stale.mkdir()
    (stale / "brick.json").write_text("{")
    library.add(three(loaded)[0])
    assert not stale.exists() and len(library.entries()) == 1


def changed_number(folder: Path) -> None:
    """One byte of the last tensor."""
    path = folder / "adapter_model.safetensors"
    held = bytearray(path.read_bytes())
    held[-3] ^= 1
    path.write_bytes(bytes(held))


def edited_card(folder: Path, change: dict[str, Any]) -> None:
    """Fields of the card, written over."""
    card = json.loads((folder / "brick.json").read_text())
    (folder / "brick.json").write_text(json.dumps({**card, **change}))


def edited_adapter(folder: Path, **change: Any) -> None:
    """Settings of the adapter that PEFT would read, written over."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))


def more_factors(folder: Path) -> None:
    """Factors of a module that the brick does not change."""
    held = load_file(folder / "adapter_model.safetensors")
    held["base_model.model.lm_head.lora_A.weight"] = torch.ones(1, 32)
    save_file(held, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (changed_number, "differs from its id"),
        (lambda folder: edited_card(folder, {"name": "other"}), "differs from its id"),
        (lambda folder: edited_adapter(folder, lora_alpha=400), "differs from its id"),
        (lambda folder: edited_adapter(folder, target_modules=["q_proj"]), "differs from its id"),
        (lambda folder: edited_adapter(folder, base_model_name_or_path="other/base"), "not as it was added"),
        (lambda folder: (folder / "note.txt").write_text("x"), "differs from its id"),
        (lambda folder: more_factors(folder), "differs from its id"),
        (lambda folder: edited_card(folder, {"format": 2}), "not a brick of format 1"),
        (lambda folder: edited_card(folder, {"sites": [{"path": "x"}]}), "lacks or mistakes a field"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"\x80\x04."), "is a pickle"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"has no adapter_model\.safetensors"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"xx"), "can't be read as safetensors"),
        (lambda folder: (folder / "brick.json").unlink(), r"has no brick\.json"),
    ],
)
def test_a_tampered_brick_is_refused(loaded: LoadedModel, tmp_path: Path, tamper: Any, sentence: str) -> None:
    library = BrickLibrary(tmp_path)
    brick_id = library.add(three(loaded)[0])
    tamper(library.folder(brick_id))
    with pytest.raises(StorageError, match=sentence):
        library.get(brick_id)
    with pytest.raises(StorageError):  # what PEFT would be given
        library.folder(brick_id)
    assert library.remove(brick_id) == brick_id and not library.entries()


def test_files_that_file_managers_leave_are_no_change(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    ids = [library.add(brick) for brick in three(loaded)]
    for brick_id in ids:
        (library.folder(brick_id) / ".DS_Store").write_text("x")
        library.get(brick_id)
    assert library.rebuild() == len(ids)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gemma3"])
def test_neurons_are_bound_to_all_that_makes_them(tmp_path: Path, kind: str) -> None:
    loaded = tiny(kind)
    brick = Brick.of(loaded, Index({1: np.array([0, 3])}), name="mask")
    block = loaded.model.get_submodule(brick.sites[0].path.rpartition(".")[0])
    matrices = [child for child in block.children() if isinstance(child, nn.Linear | Conv1D)]
    for matrix in matrices:
        kept = matrix.weight.data
        with mounted(loaded, [brick]):
            pass
        matrix.weight.data = kept.flip(0)
        with pytest.raises(UsageError, match="first difference is the tensor"), mounted(loaded, [brick]):
            pass
        matrix.weight.data = kept
    assert len(matrices) == (3 if kind in ("llama", "gemma3") else 2)


def test_paths_that_climb_are_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    brick_id = library.add(three(loaded)[0])
    for name in ("..", "../../etc", "", "zz", f"{brick_id}/..", "*"):
        with pytest.raises(UsageError, match="hex digits"):
            library.get(name)
    sites = json.loads((library.folder(brick_id) / "brick.json").read_text())["sites"]
    edited_card(tmp_path / "bricks" / brick_id, {"sites": [{**sites[0], "path": "../../x"}, *sites[1:]]})
    with pytest.raises(StorageError, match=r"brick\.json .*dotted module path"):
        library.get(brick_id)


def test_folders_that_lie_about_their_brick_are_found(loaded: LoadedModel, tmp_path: Path) -> None:
    library = BrickLibrary(tmp_path)
    brick_id = library.add(three(loaded)[0])
    shutil.move(library.folder(brick_id), tmp_path / "bricks" / ("0" * 64))
    with pytest.raises(StorageError, match="named by its brick's id"):
        library.rebuild()
    with pytest.raises(ArmillaryError, match="no brick whose id"):
        library.get(brick_id)
