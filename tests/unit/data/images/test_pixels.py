"""Images of every mode and from every kind of file as a viewer shows them, or one sentence."""

import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from armillary.data.images.pixels import read_image, rgb
from armillary.data.images.user_files import ImageQuestion, read_questions
from armillary.errors import UsageError
from armillary.models.image_text import ImageTextModel, tiny_image_text_model
from armillary.training.questions import QuestionEncoder, image_of

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(255 * values).astype(np.uint8)[..., None], 3, axis=2)


def of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


SIXTEEN = of((RAMP * 65535).round().astype(np.uint16))
EIGHT = of(grey(RAMP)[..., 0])
COLOURS = of(np.stack([np.round(255 * RAMP), 255 - np.round(255 * RAMP), np.full((8, 8), 90)], 2).astype(np.uint8))
CLEAR = of(np.dstack([np.zeros((8, 8, 3)), np.round(255 * (1 - RAMP))]).astype(np.uint8))  # black signs on nothing


def with_colour_key(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.info["transparency"] = 0
    return image


def keyed(bits: int, kind: int, values: np.ndarray, key: int) -> bytes:
    """A PNG of grey (kind 0) or of equal colours (kind 2), in which ``key`` means transparent."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    channels = 3 if kind == 2 else 1
    flat = np.repeat(values, channels, axis=1).astype(int)
    spread = (flat[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(values), -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in spread)
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(">H", key) * channels), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


LOW = np.arange(64).reshape(8, 8) % 4
FINE = np.linspace(0x1200, 0x3412, 64).round().reshape(8, 8)


SHOWN: dict[str, tuple[bytes, np.ndarray]] = {
    "8 bits": (saved(EIGHT, "PNG"), grey(RAMP)),
    "16 bits, PNG": (saved(SIXTEEN, "PNG"), grey(RAMP)),
    "16 bits, TIFF": (saved(SIXTEEN, "TIFF"), grey(RAMP)),
    "16 bits, PGM": (saved(SIXTEEN, "PPM"), grey(RAMP)),
    "16 bits, big end first": (b"P5 8 8 65535\n" + np.asarray(SIXTEEN).astype(">u2").tobytes(), grey(RAMP)),
    "floats": (saved(of(RAMP.astype(np.float32)), "TIFF"), grey(RAMP)),
    "1 bit": (saved(EIGHT.point(lambda value: 255 * (value > 127)).convert("1"), "PNG"), grey(RAMP > 0.5)),
    "colours": (saved(COLOURS, "PNG"), np.asarray(COLOURS)),
    "black on nothing": (saved(CLEAR, "PNG"), grey(RAMP)),
    "black on nothing, grey": (saved(CLEAR.convert("LA"), "PNG"), grey(RAMP)),
    "black on nothing, WebP": (saved(CLEAR, "WEBP", lossless=True, exact=True), grey(RAMP)),
    "a colour key": (saved(with_colour_key(EIGHT), "PNG", transparency=0), grey(np.where(RAMP == 0, 1, RAMP))),
    "a palette": (saved(EIGHT.convert("P"), "GIF"), grey(RAMP)),
    "a palette with a clear colour": (
        saved(EIGHT.convert("P"), "PNG", transparency=bytes([0] + [255] * 255)),
        grey(np.where(RAMP == 0, 1, RAMP)),
    ),
    "CMYK": (saved(COLOURS.convert("CMYK"), "TIFF"), np.asarray(COLOURS)),
    "an animation": (saved(EIGHT, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)]), grey(RAMP)),
    "an animation with alpha": (saved(CLEAR, "PNG", save_all=True, append_images=[CLEAR.rotate(90)]), grey(RAMP)),
    "2 bits and a colour key": (keyed(2, 0, LOW, 1), grey(np.where(LOW == 1, 1, LOW / 3))),
    "4 bits and a colour key": (keyed(4, 0, LOW, 3), grey(np.where(LOW == 3, 1, LOW / 15))),
    "16 bits and a colour key": (
        keyed(16, 2, FINE, 0x3412),
        grey(np.where(FINE == 0x3412, 1, FINE / 65535)),
    ),
    "white is 0": (saved(EIGHT, "TIFF", tiffinfo={262: 1}), grey(RAMP)),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_an_image_is_what_a_viewer_shows(kind: str, tmp_path: Path) -> None:
    content, expected = SHOWN[kind]
    (tmp_path / "image").write_bytes(content)
    question = ImageQuestion(image=tmp_path / "image", question="q", answer="a")
    for read in (read_image(content), image_of(question)):
        assert read.mode == "RGB"
        np.testing.assert_allclose(np.asarray(read).astype(int), expected, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("image", "kind"), [(COLOURS, "JPEG"), (COLOURS, "PNG"), (SIXTEEN, "PNG"), (CLEAR, "WEBP")])
def test_a_photograph_stands_as_it_was_held(image: Image.Image, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(read_image(saved(image, kind)))
    turn: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: x, lambda x: x[:, ::-1], lambda x: x[::-1, ::-1], lambda x: x[::-1],
        lambda x: x.swapaxes(0, 1), lambda x: np.rot90(x, -1), lambda x: np.rot90(x, -1)[:, ::-1][::-1, ::-1][:, ::-1],
        lambda x: np.rot90(x),
    ]  # fmt: skip
    turn[6] = lambda x: x[::-1, ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(
        np.asarray(read_image(saved(image, kind, exif=exif))), turn[orientation - 1](upright)
    )


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "La", "PA", "RGBa", "RGBX"]
)
def test_every_mode_has_a_picture(mode: str) -> None:
    assert rgb(Image.new(mode, (3, 2))).mode == "RGB"


@pytest.mark.parametrize(
    "content",
    [
        saved(of(RAMP.astype(np.float32) * 255), "TIFF"),
        saved(of(RAMP.astype(np.float32) - 1), "TIFF"),
        saved(of(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        saved(of((RAMP * 9e5).astype(np.int32)), "TIFF"),
        b"",
        b"<svg/>",
        saved(COLOURS, "PNG")[:60],
        saved(COLOURS.resize((640, 640)), "JPEG")[:2000],
        saved(EIGHT, "GIF")[:60],
    ],
)
def test_what_has_no_meaning_is_named_with_its_line_before_any_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "whole.png").write_bytes(saved(COLOURS, "PNG"))
    (tmp_path / "broken").write_bytes(content)
    names = ("whole.png", "broken")
    rows = [json.dumps({"image": name, "question": "Which?", "answer": "red"}) for name in names]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    with pytest.raises(UsageError, match=r"^line 2 of .* names .*broken, which can't be read as an image \(.+\)"):
        read_questions(tmp_path / "rows.jsonl", "task")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(1, 400),
)
def test_bytes_spoiled_at_will_give_an_image_or_a_sentence(
    kind: str, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(saved(COLOURS, kind))
    for place, value in changes:
        content[place % len(content)] = value
    for part in (bytes(content), bytes(content[:length])):
        try:
            assert read_image(part).mode == "RGB"
        except UsageError as error:
            assert "\n" not in str(error)


# Marks of an image inside a question.

MARKS = (
    "<image>",
    "<|image|>",
    "<start_of_image>",
    "<image_soft_token>",
    "<|image_pad|>",
    "<|vision_start|>",
    "[IMG]",
    "<|image_1|>",
    "<IMAGE>",
    "<image-placeholder>",
    "<image></image>",
    "<im_start><im_patch><im_end>",
    "<|image_start|><|image|><|image_end|>",
)


def written(folder: Path, **row: object) -> Path:
    (folder / "a.png").write_bytes(saved(COLOURS, "PNG"))
    whole = {"image": "a.png", "question": "Which colour?", "answer": "red", **row}
    (folder / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(whole, ensure_ascii=False).encode() + b"\r\n")
    return folder / "rows.jsonl"


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_at_an_end_is_taken_off_and_one_within_refused(mark: str, tmp_path: Path) -> None:
    for text in (f"{mark}\nWhich colour?", f"Which colour?\n{mark}", f" {mark} {mark}Which colour? {mark}\n"):
        assert read_questions(written(tmp_path, question=text), "task")[0].question == "Which colour?"
    wrong: list[dict[str, object]] = [
        {"question": f"Is {mark} red?"},
        {"question": mark},
        {"answer": f"{mark}red"},
        {"choices": ["red", f"blue{mark}"]},
    ]
    for row in wrong:
        with pytest.raises(UsageError, match=r"^line 1 of .* leave it out"):
            read_questions(written(tmp_path, **row), "task")


def test_other_texts_are_left_as_they_are(tmp_path: Path) -> None:
    for text in (
        "What does <img src='a'> show?",
        "an image",
        " two\u2028lines ",
        "[IMAGE]",
        "x < image > y",
        "<image 1>",
        "What does the <img> tag show, and <|im_start|>?",
    ):
        assert read_questions(written(tmp_path, question=text), "task")[0].question == text


@pytest.mark.parametrize("name", ["none.png", ".", "data:image/png;base64," + 5000 * "A", "a\0.png"])
def test_an_image_that_is_no_file_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^line 1 of .* is not there; give the path of a file") as caught:
        read_questions(written(tmp_path, image=name), "task")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("given", [RAMP[..., None].repeat(3, 2), np.zeros((3, 8, 8), np.uint8), "a.png", EIGHT, None])
def test_pixels_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"^an image is a Path, or an array \[h, w, 3\] of numpy.uint8; got "):
        image_of(ImageQuestion(image=given, question="q", answer="a"))


@pytest.fixture(scope="module")
def tiny() -> ImageTextModel:
    return tiny_image_text_model()


def test_the_token_of_the_model_is_refused_in_a_question(tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(tiny.processor)
    for question, answer in (("Is <image> red?", "yes"), ("Which?", "<image>")):
        asked = ImageQuestion(image=np.zeros((9, 9, 3), np.uint8), question=question, answer=answer)
        with pytest.raises(UsageError, match="holds '<image>', by which the model means an image"):
            encoder.prompt_row(asked)
