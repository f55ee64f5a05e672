"""Responses of many shapes, and instructions at the boundary of what each response has, drawn from a seed."""

import random
import re
from collections.abc import Callable

WORDS = (
    "harbour", "lighthouse", "keeper", "start", "art", "cart", "stars", "river", "notebook", "wind", "storm",
    "lamp", "Paris", "NASA", "USA", "real-time", "don't", "paint", "C++", "3.5", "1,000", "x86", "engine",
    "quiet", "tower", "morning", "gate", "letter", "stone", "bridge", "the", "a", "of", "and", "in", "it",
    "was", "to", "with",
)  # fmt: skip
MARKS = (".", ".", ".", "!", "?", "...", ";", ":", ",")
SHAPES: tuple[Callable[[random.Random, str], str], ...] = (
    lambda draw, text: f"* {text}\n* second *point*\n- third",
    lambda draw, text: f"- {text}\n---\n+ plus\n\u2022 dot",
    lambda draw, text: f"**{text}** and *slanted* words, **bold with *inner* star**",
    lambda draw, text: f"<<{text[:20]}>>\n\n{text}",
    lambda draw, text: f"{text} [name] and [link](http://a.org/b) [1] [ ] [your address]",
    lambda draw, text: f"Section 1\n{text}\nSection 2\nSee Section 3 for more.",
    lambda draw, text: f"{text}\n***\n{text[:30]}\n***\n{text[-30:]}",
    lambda draw, text: f"{text}\n\nP.S. {text[:15]}",
    lambda draw, text: f"{text}\n\nP. P. S. more, and p.s. again",
    lambda draw, text: f'"{text}"',
    lambda draw, text: text.upper(),
    lambda draw, text: text.lower(),
    lambda draw, text: '{"a": 1, "b": [true, null]}',
    lambda draw, text: f'```json\n{{"text": {len(text)}}}\n```',
    lambda draw, text: '{"a": 1,}',
    lambda draw, text: f"{text}\n******\n{text[:25]}",
    lambda draw, text: f"{text}\n******\n{text}",
    lambda draw, text: f"My answer is yes. {text}",
    lambda draw, text: text.replace(",", ""),
    lambda draw, text: text + " Any other questions?",
    lambda draw, text: f"\n\n  {text}  \n",
    lambda draw, text: "",
    lambda draw, text: "Der Hafen und die Lampe sind alt, aber der Turm ist noch hoch und die Stadt ist still.",
)  # fmt: skip


def sentence(draw: random.Random) -> str:
    """A few words and a mark, sometimes with commas within."""
    words = [draw.choice(WORDS) for _ in range(draw.randint(2, 9))]
    if draw.random() < 0.3:
        words[1] += ","
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]]) + draw.choice(MARKS)


def response(draw: random.Random) -> str:
    """Some paragraphs, mostly with one shape on top."""
    paragraphs = [
        " ".join(sentence(draw) for _ in range(draw.randint(1, 4))) for _ in range(draw.choice((1, 1, 2, 3)))
    ]
    text = draw.choice(("\n\n", "\n\n", "\n", "\n\n\n")).join(paragraphs)
    return draw.choice(SHAPES)(draw, text) if draw.random() < 0.7 else text


def near(draw: random.Random, count: int) -> int:
    """At, just below or just above a count, and at least 1."""
    return max(1, count + draw.choice((-1, 0, 0, 1)))


def relation(draw: random.Random) -> str:
    return draw.choice(("at least", "less than"))


def arguments(draw: random.Random, name: str, text: str) -> dict[str, object]:
    """Arguments of the instruction near what the response has."""
    words = re.findall(r"[\w'-]+", text) or ["word"]
    word = draw.choice(words)
    part = draw.choice(("art", "in", "harbour", "USA", word, word, word))
    paragraphs = [piece for piece in text.split("\n\n") if piece.strip()] or ["word"]
    nth = draw.randint(1, len(paragraphs))
    first = (re.findall(r"\w+", paragraphs[nth - 1]) or ["word"])[0]
    letter = draw.choice("aeotz")
    made: dict[str, Callable[[], dict[str, object]]] = {
        "keywords:existence": lambda: {"keywords": [part, draw.choice(words)]},
        "keywords:frequency": lambda: {
            "keyword": part, "frequency": near(draw, text.lower().count(part.lower())), "relation": relation(draw),
        },
        "keywords:forbidden_words": lambda: {"forbidden_words": [part, draw.choice(("zebra", word))]},
        "keywords:letter_frequency": lambda: {
            "letter": letter, "let_frequency": near(draw, text.lower().count(letter)), "let_relation": relation(draw),
        },
        "language:response_language": lambda: {"language": draw.choice(("en", "de"))},
        "length_constraints:number_sentences": lambda: {
            "num_sentences": near(draw, len(re.findall(r"[.!?]\s", text + " "))), "relation": relation(draw),
        },
        "length_constraints:number_paragraphs": lambda: {"num_paragraphs": near(draw, text.count("***") + 1)},
        "length_constraints:number_words": lambda: {
            "num_words": near(draw, len(re.findall(r"\w+", text))), "relation": relation(draw),
        },
        "length_constraints:nth_paragraph_first_word": lambda: {
            "num_paragraphs": len(paragraphs), "nth_paragraph": nth, "first_word": draw.choice((first, word)),
        },
        "detectable_content:number_placeholders": lambda: {"num_placeholders": near(draw, text.count("["))},
        "detectable_content:postscript": lambda: {"postscript_marker": draw.choice(("P.S.", "P.P.S"))},
        "detectable_format:number_bullet_lists": lambda: {
            "num_bullets": near(draw, len(re.findall(r"^[*+-] ", text, re.MULTILINE))),
        },
        "detectable_format:number_highlighted_sections": lambda: {"num_highlights": near(draw, text.count("*") // 2)},
        "detectable_format:multiple_sections": lambda: {
            "section_spliter": draw.choice(("Section", "SECTION")), "num_sections": near(draw, text.count("Section")),
        },
        "combination:repeat_prompt": lambda: {"prompt_to_repeat": draw.choice((text[:12], "Say it"))},
        "startend:end_checker": lambda: {
            "end_phrase": draw.choice(("Any other questions?", " ".join(text.split()[-2:]), word)),
        },
        "change_case:capital_word_frequency": lambda: {
            "capital_frequency": near(draw, sum(map(str.isupper, words))), "capital_relation": relation(draw),
        },
    }  # fmt: skip
    given = made.get(name, dict)()
    return {key: value if value != "" and value != [""] else "word" for key, value in given.items()}
