"""Chains cut into steps: by their numbers where they have any, else by sentences."""

import pytest

from armillary.methods.ocean.chains.steps import split_steps


@pytest.mark.parametrize(
    ("text", "steps", "rule"),
    [
        ("1. A is B.\n2) B is C.", ["A is B.", "B is C."], "numbered"),
        ("Let us see:\n1. A is B. It is old.\n\n2. C.", ["Let us see:", "A is B. It is old.", "C."], "numbered"),
        ("**Step 1:** A is B.\nStep 2: C.", ["A is B.", "C."], "numbered"),
        ("- A is B\n- C is D\n", ["A is B", "C is D"], "numbered"),
        ("1. A is B. 2. C is D. 3. E.", ["A is B.", "C is D.", "E."], "numbered"),
        ("It is new. It is old!", ["It is new.", "It is old!"], "sentences"),
        (
            "It has 1.5 million people. Founded in 1561.",
            ["It has 1.5 million people.", "Founded in 1561."],
            "sentences",
        ),
        ("1. Only one mark", ["1. Only one mark"], "sentences"),
        ("1. \n2. A.\n3. ...", ["A."], "numbered"),
        (" \n", [], "sentences"),
    ],
)
def test_steps_and_the_rule_that_found_them(text: str, steps: list[str], rule: str) -> None:
    assert split_steps(text) == (steps, rule)
