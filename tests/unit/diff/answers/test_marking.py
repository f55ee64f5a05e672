import pytest

from armillary.diff.answers.marking import is_right
from armillary.diff.prompts import Prompt, packaged_prompts


def test_the_right_answers_of_the_packaged_set_count_and_the_wrong_choices_do_not() -> None:
    for prompt in packaged_prompts():
        if prompt.answer is None:
            assert is_right(prompt, "anything") is None
            continue
        assert is_right(prompt, f"It is: {prompt.answer}."), prompt.id
        assert not is_right(prompt, ""), prompt.id
        for choice in prompt.choices or ():
            assert is_right(prompt, choice) is (choice == prompt.answer), (prompt.id, choice)


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("42", "17 + 25 = 42.", True),
        ("42", "The answer is 420.", False),
        ("42", "4 2", False),
        ("8", "A spider has eight legs.", True),
        ("1,200", "about 1200 km", True),
        ("1200", "1'200 and no more", True),
        ("2.5", "It is 2.5 m.", True),
        ("-5", "x = -5", True),
        ("-5", "x = \u22125", True),
        ("-5", "so 7 - 5 is 2", False),
        ("5", "so it is -5", False),
        ("Das Haus ist alt.", "das haus ist alt", True),
        ("Über", "uber alles", True),
        ("HyperText Markup Language", "It stands for Hypertext Markup Language (1993).", True),
    ],
)
def test_an_answer_is_right_where_it_says_the_expected_one(answer: str, reply: str, right: bool) -> None:
    assert is_right(Prompt(id="p", text="?", answer=answer), reply) is right


def test_the_first_choice_that_is_named_counts() -> None:
    prompt = Prompt(id="p", text="?", answer="yes", choices=("yes", "no", "yes and no"))
    assert is_right(prompt, "Yes, for there is no other way.")
    assert not is_right(prompt, "No. Some would say yes.")
    assert not is_right(prompt, "Yes and no.")
    assert not is_right(prompt, "Perhaps.")
