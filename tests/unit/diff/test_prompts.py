import csv
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from transformers import PreTrainedTokenizerBase

from armillary.diff.prompts import (
    HELPING,
    REFUSING,
    PlainText,
    Prompt,
    evenly,
    packaged_prompts,
    packaged_texts,
    questions_of,
    read_prompts,
    read_texts,
    rendered,
    text_tokens,
)
from armillary.errors import UsageError
from armillary.models import load


def test_the_packaged_set_is_whole() -> None:
    prompts, texts = packaged_prompts(), packaged_texts()
    tags = Counter(prompt.tag for prompt in prompts)
    assert len(prompts) >= 300 and min(tags.values()) >= 10
    assert {"arithmetic", "facts", "reasoning", "code", "harmful", "German", "French", "Spanish"} <= set(tags)
    assert len({prompt.id for prompt in prompts}) == len({prompt.text for prompt in prompts}) == len(prompts)
    assert all(prompt.choices is None or prompt.answer in prompt.choices for prompt in prompts)
    groups = Counter(text.name for text in texts)
    assert len(groups) == 8 and min(groups.values()) >= 20 and all(text.whole for text in texts)
    assert all(45 <= len(text.text) <= 180 for text in texts) and len({text.text for text in texts}) == len(texts)
    refusable = Counter(prompt.tag for prompt in prompts if prompt.refusal)
    assert refusable == {"harmful": 24, "harmless look-alike": 24, "everyday": 30}
    assert all(prompt.answer is None for prompt in prompts if prompt.refusal)


def test_few_are_taken_from_every_tag() -> None:
    prompts = packaged_prompts()
    tags = len({prompt.tag for prompt in prompts})
    chosen = evenly(prompts, 2 * tags)
    assert set(Counter(prompt.tag for prompt in chosen).values()) == {2}
    assert evenly(prompts, 10**6) != prompts and sorted(evenly(prompts, 10**6), key=prompts.index) == prompts
    texts = [PlainText("a", "1"), PlainText("a", "2"), PlainText("b", "3")]
    assert [text.text for text in evenly(texts, 2)] == ["1", "3"]


ROWS: list[Mapping[str, object]] = [
    {"prompt": "What is 2 + 2?", "answer": 4, "tag": "sums", "extra": True},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    {"prompt": "Yes or no?", "answer": "no", "choices": ["yes", "no"], "id": "own"},
]


def check_rows(prompts: list[Prompt], stem: str) -> None:
    first, second, third = prompts
    assert first == Prompt(id=f"{stem}-1", text="What is 2 + 2?", answer="4", tag="sums")
    assert second.messages == [{"role": "user", "content": "Hi"}] and second.answer == "Hello"
    assert second.request == "Hi" and second.tag == "prompts"
    assert (third.id, third.choices) == ("own", ("yes", "no"))


def test_rows_of_every_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join(map(json.dumps, ROWS))
    (tmp_path / "mine.jsonl").write_text(lines)
    check_rows(read_prompts(str(tmp_path / "mine.jsonl")), "mine")
    table = tmp_path / "mine.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "prompt", "messages", "answer", "choices", "tag"], extrasaction="ignore")
        writer.writeheader()
        for row in ROWS:
            lists = {name: json.dumps(row[name]) for name in ("messages", "choices") if name in row}
            writer.writerow({**row, **lists})
    check_rows(read_prompts(str(table)), "mine")
    table.write_text("prompt,refusal\na,true\nb,False\nc,\n")
    assert [prompt.refusal for prompt in read_prompts(str(table))] == [True, False, False]
    table.write_text("prompt,answer\na,b\n,\n , \nc,d\n")
    with pytest.raises(UsageError, match=r"row 2 .* has an empty prompt"):
        read_prompts(str(table))

    tables = SimpleNamespace(to_pylist=lambda: [{**row, "tag": row.get("tag")} for row in ROWS])
    parquet = ModuleType("pyarrow.parquet")
    parquet.read_table = lambda path: tables  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    (tmp_path / "mine.parquet").touch()
    check_rows(read_prompts(str(tmp_path / "mine.parquet")), "mine")

    datasets = ModuleType("datasets")
    splits = {"train": ROWS}
    datasets.load_dataset = lambda name, split: splits[split]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    check_rows(read_prompts("someone/mine"), "mine")
    with pytest.raises(UsageError, match=r"someone/mine:test could not be loaded"):
        read_prompts("someone/mine:test")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "  "}, "line 1 .* has an empty prompt"),
        ({"question": "What?"}, "line 1 .* has the fields 'question'; give prompt or messages"),
        ({"prompt": "a", "messages": []}, "both prompt and messages"),
        ({"messages": []}, "messages without anything in them"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "assistant's alone"),
        ({"messages": [{"role": "user"}]}, "has a turn"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty prompt"),
        ({"prompt": "a", "choices": ["b", "c"]}, "answer None, which is not among its choices"),
        ({"prompt": "a", "answer": "b", "choices": ["b"]}, "two or more that differ"),
        ({"prompt": "a", "refusal": "yes"}, "refusal 'yes'; give true"),
        ({"prompt": "a", "answer": "b", "refusal": True}, "without an answer"),
        ({"prompt": "a", "answer": ["b"]}, "answer of type list; give text"),
    ],
)
def test_a_wrong_row_is_told_in_a_sentence(row: object, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UsageError, match=sentence) as caught:
        read_prompts(str(path))
    assert "\n" not in str(caught.value)


def test_wrong_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "other.csv").write_text("question,reply\na,b\n")
    (tmp_path / "twice.jsonl").write_text('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}')
    for source, sentence in [
        (str(tmp_path / "empty.jsonl"), "has no rows"),
        (str(tmp_path / "other.csv"), "has the columns 'question', 'reply'; it needs prompt or messages"),
        (str(tmp_path / "twice.jsonl"), "the id 'x' twice"),
        (str(tmp_path / "none.jsonl"), "there is no file of that name"),
        (str(tmp_path / "none.parquet"), "there is no file of that name"),
        ("nothing", "no file and no data set"),
        ("rows/nothing", "no file and no data set"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            read_prompts(source)


def test_what_is_scored_without_writing() -> None:
    packaged = questions_of(packaged_prompts())
    assert {"harmful", "harmless look-alike", "everyday", "arithmetic"} <= {prompt.tag for prompt in packaged}
    assert all(prompt.refusal or prompt.choices for prompt in packaged)
    refusable, chosen, answered, bare = (
        Prompt(id="r", text="a", refusal=True),
        Prompt(id="c", text="b", answer="two", choices=("one", "two", "three")),
        Prompt(id="a", text="c", answer="two"),
        Prompt(id="b", text="d"),
    )
    assert questions_of([refusable, chosen, answered, bare]) == [refusable, chosen]
    assert questions_of([refusable, answered, bare]) == [refusable, answered]
    assert refusable.expected == REFUSING + HELPING and list(refusable.weighed) == [0, 1, 2, 3]
    assert (chosen.expected, list(chosen.weighed)) == (("one", "two", "three"), [1])
    assert (answered.expected, list(answered.weighed), bare.expected) == (("two",), [0], ())


def test_paragraphs_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "de.txt"
    path.write_text("\n\n".join(f"Absatz {number}\nund mehr" for number in range(6)) + "\n \t\n\n\n" + "w " * 900)
    texts = read_texts({"German": str(path)})
    assert len(texts) == 7 and all(text.whole for text in texts)
    assert texts[0].text == "Absatz 0\nund mehr" and len(texts[6].text) == 1800
    assert text_tokens(texts) == round(sum(len(text.text) for text in texts) / 7 / 3.5)
    # One fewer: they are pieces of a text.
    path.write_text("\n\n".join("Absatz " * 30 for _ in range(5)))
    assert not any(text.whole for text in read_texts({"German": str(path)}))


def test_texts_are_cut_into_pieces(tmp_path: Path) -> None:
    path = tmp_path / "de.txt"
    path.write_text("Ein kurzer Satz.")
    assert read_texts({"German": str(path)}) == [PlainText("German", "Ein kurzer Satz.", whole=False)]
    words = " ".join(f"w{number}" for number in range(400))
    path.write_text(words)
    pieces = [text.text for text in read_texts({"German": str(path)})]
    assert len(pieces) > 2 and all(100 <= len(piece) <= 600 for piece in pieces)
    assert words.startswith(" ".join(piece.strip() for piece in pieces)) and len(words) - sum(map(len, pieces)) < 110
    path.write_text("x" * 1500)
    assert [len(text.text) for text in read_texts({"code": str(path)})] == [600, 600, 300]
    path.write_text(" \n")
    with pytest.raises(UsageError, match="holds no text"):
        read_texts({"German": str(path)})


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load("tiny-llama").tokenizer


def test_rendering(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Prompt(id="p1", messages=[{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    monkeypatch.setattr(tokenizer, "chat_template", None)
    assert rendered(tokenizer, Prompt(id="p", text="Say hello.")) == "Say hello."
    with pytest.raises(UsageError, match=r"p1 is given as messages, and .* has no chat template"):
        rendered(tokenizer, turns)
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert rendered(tokenizer, Prompt(id="p", text="Say hello.")) == "[user]Say hello.[a]"
    assert rendered(tokenizer, turns) == "[system]S[user]U[a]"
