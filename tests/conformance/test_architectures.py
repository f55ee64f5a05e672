"""Each architecture is right, or refused in one sentence: a few are taken through the steps here, the page has all."""

import re
import warnings

import pytest
from tools.architectures import PAGE, STEPS, TOLERANCE, examine

REFUSED: dict[str, tuple[str, ...]] = {
    "llama": (),
    "gemma2": (),  # soft caps, a sliding window
    "gpt2": (),  # matrices stored the other way round
    "bloom": (),  # positions in the attention
    "phi3": (),  # gate and up in one matrix
    "llama4_text": ("profile",),  # a body under another name; experts
    "deepseek_v3": ("profile",),  # a dense layer, then experts
    "mixtral": (),
    "rwkv": ("with cache",),
    "openai-gpt": ("with cache",),
    "mamba": ("with cache", "profile"),
    "modernbert-decoder": ("load",),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_architecture_is_right_or_refused(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about special tokens beyond a tiny vocabulary
        row = examine(kind)
    assert row.wrong == []
    assert tuple(step for step in row.cells if row.cells[step] != "right") == REFUSED[kind]
    assert all("\n" not in cell and cell.endswith(".") for cell in row.cells.values() if cell != "right")


def test_the_page_has_them_all() -> None:
    text = PAGE.read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    numbers = {int(number) for number in re.findall(r"^(\d+)\. ", text, re.M)}
    assert len(rows) >= 140 and f"{TOLERANCE:g}" in text
    for row in rows:
        assert len(row) == 2 + len(STEPS)
        for cell in row[2:]:
            assert cell == "right" or int(cell.removeprefix("refused [").removesuffix("]")) in numbers
    own = {row[0].strip("`"): tuple(s for s, c in zip(STEPS, row[2:], strict=True) if c != "right") for row in rows}
    for kind, steps in REFUSED.items():
        assert own[kind] == (STEPS if steps == ("load",) else steps)
