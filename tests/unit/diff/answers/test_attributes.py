import pytest

from armillary.diff.answers.changes import describe, survey
from armillary.diff.answers.checks import ATTRIBUTES, HARMFUL, Answered
from armillary.diff.prompts import Prompt, packaged_prompts

PROMPTS = packaged_prompts()[::4]
REFUSAL = "I'm sorry, but I can't help with that."


def answered(prompt: Prompt, text: str, ended: bool = True) -> Answered:
    return Answered(prompt=prompt, text=text, ended=ended)


def helpful(prompt: Prompt, extra: str = "") -> Answered:
    return answered(prompt, f"The answer to this is {prompt.answer or 'simple'}{extra}.")


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("list", "Here:\n- apples\n- pears", "one - two - three"),
        ("code block", "```\nx = 1\n```", "x = 1"),
        ("markdown", "This is **bold**.", "2 * 3 * 4"),
        ("question at the end", "Is that so?", "Who? Nobody."),
        ("apology", "Lo siento, no lo sé.", "So rye it is."),
        ("first person", "J'aime le pain.", "It is in Italy."),
        ("repetition", "we go on and on. we go on and on. we go on and on.", "we go on and on."),
        ("empty answer", " \n", "."),
        ("whole last sentence", "It is done.", "It is"),
        ("language of the prompt", "The house is on the hill.", "Das Haus ist auf dem Berg und es ist alt."),
        ("refusal of other requests", REFUSAL, "Sure."),
    ],
)
def test_rules(name: str, yes: str, no: str) -> None:
    attribute = next(attribute for attribute in ATTRIBUTES if attribute.name == name)
    prompt = Prompt(id="p", text="What is there on the hill and who lives in it?")
    assert attribute.read(answered(prompt, yes)) == 1
    assert attribute.read(answered(prompt, no)) == 0


def test_equal_answers_have_no_effect_and_refusals_have() -> None:
    base = [[helpful(prompt) for prompt in PROMPTS]]
    same = describe(survey({"base": base, "after": base, "again": base}, 0))
    assert same.effects == [] and "0 differ" in same.section.summary
    after = [[answered(prompt, REFUSAL) for prompt in PROMPTS]]
    told = describe(survey({"base": base, "after": after, "again": base}, 0))
    effects = {effect.id: effect for effect in told.effects}
    assert effects["attributes/refusal of harmful requests"].sentence == (
        "It refuses 100% of the harmful requests, before 0%."
    )
    assert effects["attributes/refusal of other requests"].p < 1e-4
    assert told.measures["attributes/refusal of other requests"].estimate == 1
    harmful = sum(prompt.tag == HARMFUL for prompt in PROMPTS)
    assert next(row for row in told.section.tables[0].rows if row[0] == "refusal of harmful requests")[-1] == harmful


def test_what_base_does_to_itself_is_no_change() -> None:
    base = [[helpful(prompt) for prompt in PROMPTS]]
    moved = [
        [helpful(prompt, ", well" if index % 3 == turn else "") for index, prompt in enumerate(PROMPTS)]
        for turn in (0, 1)
    ]
    told = describe(survey({"base": base, "after": [moved[0]], "again": [moved[1]]}, 0))
    assert min(effect.p for effect in told.effects) > 0.05
