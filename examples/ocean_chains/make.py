"""How chains.jsonl.gz was made: 100 questions on geography, each answered step by step twice by SmolLM2-135M-Instruct.

    python examples/ocean_chains/make.py
    gunzip --keep examples/ocean_chains/chains.jsonl.gz
    armillary ocean check examples/ocean_chains/chains.jsonl --kg geography

Once the likeliest word is taken at each place (greedy), once words are drawn at temperature 1, so that there are two
policies to compare on the same questions; bfloat16, seed 0, 60 tokens at most. The questions follow random paths of
one and two facts over the packaged geography, with what these lead to as answers. A killed run goes on where it was.
"""

import gzip
import json
from pathlib import Path

from armillary.chat import ChatSettings, LocalChat, user
from armillary.data.relations.facts import geography_facts
from armillary.files import write_atomic
from armillary.graphs import KnowledgeGraph, random_walks
from armillary.models import load

FOLDER = Path(__file__).parent
BATCH, TOKENS = 16, 60
PHRASES = {
    "capital": "the capital of {}",
    "country": "the country in which {} lies",
    "continent": "the continent of {}",
    "official language": "an official language of {}",
    "currency": "the currency of {}",
    "borders": "a country that borders {}",
}
KINDS = {
    ("capital",): 16,
    ("country",): 16,
    ("continent",): 12,
    ("official language",): 12,
    ("currency",): 12,
    ("borders",): 8,
    ("country", "capital"): 8,
    ("country", "continent"): 8,
    ("country", "official language"): 8,
}
"""Relations along a path -> questions; 100 in all."""

ASKED = "What is {}? Think step by step: write two or three numbered steps, each a short sentence with one fact."
SETTINGS = {
    "SmolLM2-135M-Instruct, greedy": ChatSettings(max_tokens=TOKENS, temperature=0.0, seed=0),
    "SmolLM2-135M-Instruct, temperature 1": ChatSettings(max_tokens=TOKENS, temperature=1.0, seed=0),
}


def questions() -> list[dict[str, object]]:
    graph = KnowledgeGraph.of(geography_facts())
    rows: list[dict[str, object]] = []
    for seed, (relations, count) in enumerate(KINDS.items()):
        starts: dict[str, None] = {}
        for path in random_walks(graph, 3 * count, len(relations), seed, typed=relations):
            if path[0][0] in starts or len(starts) == count:
                continue
            starts[path[0][0]] = None
            said, reached = path[0][0], [path[0][0]]
            for relation in relations:
                said = PHRASES[relation].format(said)
                reached = sorted({tail for head in reached for tail in graph.tails(head, relation)})
            rows.append({"prompt": ASKED.format(said), "answers": reached})
    return rows


def main() -> None:
    rows = questions()
    chat = LocalChat(
        load("smollm2-135m-instruct", dtype="bfloat16"), batch_size=BATCH, cache="armillary-runs/ocean-chains"
    )
    written = []
    for model, settings in SETTINGS.items():
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            answers = chat.complete_all([user(str(row["prompt"])) for row in some], settings)
            written += [
                {**row, "model": model, "text": answer.text} for row, answer in zip(some, answers, strict=True)
            ]
            print(f"{len(written)} of {2 * len(rows)}: {chat.tokens}", flush=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
    # No time of day in the file, so that the same chains are the same bytes.
    write_atomic(FOLDER / "chains.jsonl.gz", gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
