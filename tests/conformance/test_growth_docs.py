"""The tables about a diff's cost tell what was measured, and nothing grows faster than its size without a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from tools.growth_docs import GROWTH, REASONS, SIZES, above, exponent, seven_part, slopes_part

ROOT = Path(__file__).parents[2]


def slope(estimate: float, half: float = 0.05, *, size: str = "layers", largest: float = 1.0) -> dict[str, Any]:
    return {
        "row": "restoring", "size": size, "cost": "seconds", "sizes": [2, 8, 32], "medians": [0.1, 0.3, largest],
        "exponent": {"estimate": estimate, "low": estimate - half, "high": estimate + half}, "exponent below": 1.0,
    }  # fmt: skip


def test_above_linear_is_bold() -> None:
    assert exponent(slope(1.02)) == "1.02 ± 0.05" and exponent(slope(-0.5)) == "\N{MINUS SIGN}0.50 ± 0.05"
    assert exponent(slope(1.9)) == "**1.90 ± 0.05**" and exponent(slope(1.2, 0.9)) == "**1.20 ± 0.90**"
    assert exponent(slope(1.9, size="hidden")) == "1.90 ± 0.05", "parameters grow with the square of the width"
    assert exponent(slope(1.9, largest=0.001)) == "", "too short to be told"


def test_a_table_names_what_is_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slopes_part(tmp_path) == "Not measured yet."
    rows = [slope(1.9 if size == "layers" else 1.0, size=size) for size in SIZES]
    record = {
        "settings": {"repeats": 5},
        "slopes": [row | {"cost": cost} for cost in ("seconds", "memory") for row in rows],
    }
    (tmp_path / GROWTH).write_text(json.dumps(record), "utf-8")
    monkeypatch.setattr("tools.growth_docs.REASONS", {})
    part = slopes_part(tmp_path)
    assert "| restoring | 1.00 ± 0.05 |" in part and part.endswith("- **restoring, layers**: not explained.")
    assert "layers 8 to 32" in part and "5 repeats" in part
    monkeypatch.setattr("tools.growth_docs.REASONS", {("restoring", "layers"): "each is put back."})
    assert slopes_part(tmp_path).endswith("- **restoring, layers**: each is put back.")


def test_all_that_grows_faster_than_its_size_is_explained() -> None:
    path = ROOT / "benchmarks" / "results" / GROWTH
    rows = json.loads(path.read_text("utf-8"))["slopes"] if path.exists() else []
    steep = {(row["row"], row["size"]) for row in rows if above(row)}
    assert steep - REASONS.keys() == set(), "above linear without a reason"
    assert not rows or REASONS.keys() - steep == set(), "a reason for what is not above linear"


def test_a_large_model_is_estimated_from_the_records() -> None:
    part = seven_part(ROOT)
    assert "6.74 billion parameters" in part and "estimated" in part if part != "Not recorded yet." else True
