"""Every example runs, on a tiny model."""

from pathlib import Path

import pytest

from processes import run_script

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    assert {"bricks", "checkup", "commit", "icn", "lincorr", "mdgd", "modeldiff"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    code, told, error = run_script(path, ["tiny-llama"], tmp_path)
    assert code == 0, error
    assert len(told.splitlines()) >= 2
