"""GGUF files become folders that give the same logits."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors import safe_open
from transformers.utils import logging

from armillary.errors import ModelError
from armillary.fetch import cache
from armillary.fetch.cache import intact
from armillary.models import gguf_file, load

from .conftest import gguf_twin, write_gguf

More = Callable[[GGUFWriter], object]
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


# What the file says and transformers passes over


def tensor(name: str, values: np.ndarray) -> More:
    return lambda out: out.add_tensor(name, values.astype(np.float32))


DIVISORS = np.exp(np.random.default_rng(0).uniform(0, 3, 64))
PLAIN = 10000.0 ** (-np.arange(64) / 64)


def scaled(kind: str, factor: float) -> More:
    def more(out: GGUFWriter) -> None:
        out.add_string("qwen3.rope.scaling.type", kind)
        out.add_float32("qwen3.rope.scaling.factor", factor)

    return more


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (tensor("rope_freqs.weight", DIVISORS), PLAIN / DIVISORS),
        (tensor("rope_freqs.weight", np.ones(64)), PLAIN),
        (scaled("linear", 4.0), PLAIN / 4),
        (scaled("none", 4.0), PLAIN),
        (scaled("linear", 1.0), PLAIN),
        (lambda out: out.add_float32("qwen3.rope.scale_linear", 2.0), PLAIN / 2),
        (tensor("blk.2.nextn.eh_proj.weight", np.ones((4, 4))), PLAIN),
        (tensor("blk.0.attn_rot_embd.weight", np.ones(64)), PLAIN),
        (lambda out: out.add_float32("qwen3.attention.scale", 1.0), PLAIN),
    ],
)
def test_positions_are_scaled_as_the_file_says(more: More, expected: np.ndarray, tmp_path: Path) -> None:
    truth = gguf_twin()
    opened = load(write_gguf(truth, tmp_path / "my model.GGUF", more))
    table = opened.model.model.rotary_emb.inv_freq.double()
    torch.testing.assert_close(table, torch.from_numpy(expected), rtol=1e-5, atol=0)
    truth.model.model.rotary_emb.inv_freq.copy_(torch.from_numpy(expected))
    ids = torch.arange(3, 200)[None]
    torch.testing.assert_close(opened.model(ids).logits, truth.model(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (tensor("rope_freqs.weight", np.ones(5)), "has 5 factors of positions (rope_freqs) for 64"),
        (tensor("rope_factors_long.weight", np.ones(64)), "scales its positions (by tensors)"),
        (scaled("yarn", 4.0), "scales its positions (yarn)"),
        (
            tensor("blk.0.ffn_down.scale", np.ones(1)),
            "holds blk.0.ffn_down.scale, which transformers has no place",
        ),
        (tensor("blk.1.attn_q.bias", np.ones(512)), "holds blk.1.attn_q.bias"),
        (tensor("blk.1.ffn_gate_inp.weight", np.ones((4, 32))), "holds blk.1.ffn_gate_inp.weight"),
        (lambda out: out.add_float32("qwen3.final_logit_softcapping", 30.0), "says final_logit_softcapping = 30.0"),
        (lambda out: out.add_float32("qwen3.logit_scale", 0.0625), "says logit_scale = 0.0625"),
        (lambda out: out.add_uint32("qwen3.expert_used_count", 2), "says expert_used_count = 2"),
        (lambda out: out.add_uint16("split.count", 3), "is one of 3 parts of a model; join them"),
        (lambda out: out.add_type("mmproj"), "that reads images (mmproj)"),
        (lambda out: out.add_type("adapter"), "holds no model but adapter"),
        (lambda out: out.add_tokenizer_pre("deepseek-llm"), "splits texts in the way 'deepseek-llm'"),
    ],
)
def test_what_the_opened_model_has_no_place_for_is_refused(more: More, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(write_gguf(gguf_twin(), tmp_path / "a.gguf", more))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.cache_folder().rglob("*.safetensors"))


def test_digits_stand_alone_where_the_file_says_so(tmp_path: Path) -> None:
    parts = {}
    for split in ("gpt-2", "smollm"):
        named = functools.partial(GGUFWriter.add_tokenizer_pre, pre=split)
        opened = load(write_gguf(gguf_twin(), tmp_path / f"{split}.gguf", named))
        backend = opened.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
        parts[split] = [part for part, _ in backend.pre_tokenizer.pre_tokenize_str("x  71")]
    assert parts == {"gpt-2": ["x", "Ġ", "Ġ71"], "smollm": ["x", "ĠĠ", "7", "1"]}
