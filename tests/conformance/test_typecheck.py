"""Shape annotations are really checked while the tests run."""

import pytest
import torch

from armillary.numerics.least_squares import fit_linear
from typecheck import checked, has_shape


def test_wrong_shapes_are_caught() -> None:
    rows = torch.randn(6, 2, dtype=torch.float64)
    assert fit_linear(rows, rows).weight.shape == (2, 2)
    with pytest.raises(Exception, match="ype-check error"):
        fit_linear(rows, rows[0])
    with pytest.raises(Exception, match="ype-check error"):
        fit_linear(rows, rows[:3])


def test_other_types_are_left_to_mypy() -> None:
    def plain(count: int) -> str:
        return str(count)

    assert checked(plain) is plain and plain("many") == "many"  # type: ignore[arg-type]
    assert not has_shape(int) and not has_shape(dict[str, int])
