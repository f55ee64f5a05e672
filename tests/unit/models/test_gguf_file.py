"""GGUF files become folders that give the same logits."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers.utils import logging

from armillary.errors import ModelError
from armillary.fetch import cache
from armillary.fetch.cache import intact
from armillary.models import gguf_file, load

from .conftest import gguf_twin, write_gguf

TEXT = "Paris lives in the city of"


def test_a_gguf_file_gives_the_logits_it_was_written_from(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth = gguf_twin()
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    found = load(write_gguf(truth, tmp_path / "a.gguf"))
    ids = truth.tokenizer(TEXT, return_tensors="pt").input_ids
    assert found.tokenizer(TEXT).input_ids == ids[0].tolist()
    torch.testing.assert_close(found.model(ids).logits, truth.model(ids).logits, atol=1e-5, rtol=0)
    assert found.source == "GGUF file a.gguf, dequantised to float32"
    assert capfd.readouterr().err == ""  # no bars and notes of transformers ...
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (verbosity, bars)  # ... and back to normal


def test_the_second_time_it_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(gguf_twin(), tmp_path / "a.gguf")
    folder = gguf_file.converted(path)
    assert intact(folder) and list(folder.glob("*.safetensors"))
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float32}  # noqa: SIM118

    def again(*_: object) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(gguf_file, "convert", again)
    assert gguf_file.converted(path.rename(tmp_path / "renamed.gguf")) == folder


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    first = gguf_file.converted(write_gguf(gguf_twin(), tmp_path / "a.gguf"))
    second = gguf_file.converted(write_gguf(gguf_twin(1), tmp_path / "a.gguf"))
    assert first != second


@pytest.mark.parametrize(("kept", "words"), [(0.9, "cut short or damaged"), (0.01, "cut short or damaged")])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, kept: float, words: str) -> None:
    path = write_gguf(gguf_twin(), tmp_path / "a.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not cache.cache_folder().exists()


def test_another_file_with_the_ending_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GIF89a")
    with pytest.raises(ModelError, match="does not begin with the letters GGUF"):
        load(str(path))


def test_the_weights_are_counted(tmp_path: Path) -> None:
    truth = gguf_twin()
    path = write_gguf(truth, tmp_path / "a.gguf")
    assert gguf_file.count_parameters(path) == sum(parameter.numel() for parameter in truth.model.parameters())
