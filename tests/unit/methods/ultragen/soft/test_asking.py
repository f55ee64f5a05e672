"""Extraction and judging with a scripted model: what is asked, what is asked again, what is counted."""

import json
from collections.abc import Callable, Sequence

import pytest

from armillary.attributes.attribute import soft
from armillary.chat import ChatSettings, Completion, Message, TokenCount
from armillary.errors import UsageError
from armillary.methods.ultragen.soft.extraction import Extractor, leaks, rewritten
from armillary.methods.ultragen.soft.judges import ChatJudge, JudgeChoice, opened_judge

TEXT = "The ferry left a little after six, and Marta stood at the rail until the last lights of the harbour were gone."


class Scripted:
    """Answers with what ``reply`` makes of the user's turn and of the seed."""

    name = "scripted"
    tokens = TokenCount()

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply = reply
        self.asked_for: list[list[str]] = []

    def complete(self, messages: Sequence[Message], settings: ChatSettings = ChatSettings()) -> Completion:  # noqa: B008
        return self.complete_all([messages], settings)[0]

    def complete_all(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: ChatSettings = ChatSettings(),  # noqa: B008
    ) -> list[Completion]:
        turns = [messages[-1]["content"] for messages in conversations]
        self.asked_for.append(turns)
        return [
            Completion(text=self.reply(turn, settings.seed), prompt_tokens=1, completion_tokens=1) for turn in turns
        ]


def requirements(turn: str) -> list[str]:
    return [line.partition(". ")[2] for line in turn.partition("Requirements:\n")[2].split("\n")]


def truthful(turn: str, seed: int) -> str:
    return json.dumps({str(n): "true" in text for n, text in enumerate(requirements(turn), 1)})


ITEMS = [soft("true a"), soft("false b"), soft("true c")]


def test_all_attributes_of_a_response_are_one_question() -> None:
    model = Scripted(truthful)
    judge = ChatJudge(model=model)
    assert judge.judge([("one", ITEMS), ("two", ITEMS[:1]), ("three", [])]) == [[True, False, True], [True], []]
    assert len(model.asked_for) == 1 and len(model.asked_for[0]) == 2, "nothing is asked about no attribute"
    assert judge("one", ITEMS) == [True, False, True]


def test_what_is_missing_is_asked_again_then_alone_and_then_counts_as_unparsed() -> None:
    def forgetful(turn: str, seed: int) -> str:
        wanted = requirements(turn)
        given = {str(n): "true" in text for n, text in enumerate(wanted, 1) if "c" not in text and seed >= n - 1}
        return json.dumps(given)

    model = Scripted(forgetful)
    assert ChatJudge(model=model).judge([("one", ITEMS)]) == [[True, False, None]]
    assert [len(requirements(turns[0])) for turns in model.asked_for] == [3, 2, 1, 1]
    late = Scripted(lambda turn, seed: "yes" if seed == 3 else "let me think")
    assert ChatJudge(model=late).judge([("one", ITEMS)]) == [[True, True, True]]
    assert [len(turns) for turns in late.asked_for] == [1, 1, 1, 3], "in the end each by itself"


def test_as_the_released_benchmark_does_one_wrong_reply_fails_all() -> None:
    model = Scripted(lambda turn, seed: '{"1": true, "2": true}')
    assert ChatJudge(model=model, compat="all_false").judge([("one", ITEMS)]) == [[False] * 3]
    assert len(model.asked_for) == 3
    second = Scripted(lambda turn, seed: truthful(turn, seed) if seed else "")
    assert ChatJudge(model=second, compat="all_false").judge([("one", ITEMS)]) == [[True, False, True]]
    with pytest.raises(UsageError, match="compat"):
        ChatJudge(model=model, compat="some")  # type: ignore[arg-type]


def test_an_open_list_without_what_hands_over_the_text() -> None:
    leaky = "Say that Marta stood at the rail until dark."
    reply = f"1. Tell of a departure by sea.\n2. {leaky}\n3. Keep a quiet tone.\n4. Name the hour."
    extraction = Extractor(model=Scripted(lambda turn, seed: reply), most=2).extract([TEXT, " "])
    assert [each.text for each in extraction[0].attributes] == ["Tell of a departure by sea.", "Keep a quiet tone."]
    assert extraction[0].leaked == [leaky] and all(not each.hard for each in extraction[0].attributes)
    assert extraction[1].attributes == [], "nothing is asked about an empty text"


def test_slots_are_asked_for_again_where_the_reply_has_no_form() -> None:
    reply = json.dumps({"tone": "Keep it quiet.", "content": "Tell of a departure by sea."})
    model = Scripted(lambda turn, seed: reply if seed >= 2 or "second" in turn else "tone: quiet")
    extractions = Extractor(model=model, style="slots").extract([TEXT, "a second text"])
    assert [each.kind for each in extractions[0].attributes] == ["soft/content", "soft/tone"]
    assert [extraction.unparsed for extraction in extractions] == [2, 0]
    assert [len(turns) for turns in model.asked_for] == [2, 1, 1]
    never = Extractor(model=Scripted(lambda turn, seed: "sorry"), style="slots").extract([TEXT])
    assert never[0].attributes == [] and never[0].unparsed == 3
    with pytest.raises(UsageError, match="style"):
        Extractor(model=model, style="list")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sentence", "leaking"),
    [
        ("Mention how MARTA stood, at the rail until", True),
        ("Mention Marta stood at the rail", False),
        ("Say: the ferry left a little after", True),
        ("a little after", False),
    ],
)
def test_six_words_in_a_row_are_a_leak_and_five_are_none(sentence: str, leaking: bool) -> None:
    assert leaks(sentence, TEXT) is leaking


def test_an_attribute_is_stated_anew() -> None:
    settings = ChatSettings()
    first = soft("Keep it loud.", "tone")
    anew = rewritten(Scripted(lambda turn, seed: "Keep it quiet."), TEXT, first, settings)
    assert anew == soft("Keep it quiet.", "tone")
    for reply in ("", "One.\nTwo.", "Say that Marta stood at the rail until dark."):
        assert rewritten(Scripted(lambda turn, seed, reply=reply: reply), TEXT, first, settings) is None


def test_a_judge_is_chosen_in_words() -> None:
    assert opened_judge(JudgeChoice()) is None
    with pytest.raises(UsageError, match="name of its model"):
        opened_judge(JudgeChoice(url="http://localhost:1/v1"))
