"""Navigated answers against re-prompting with plain ``generate``, and against sampling the same number of tokens.

    python benchmarks/icn.py [--model smollm2-135m-instruct] [--quick]

Re-prompting does the same work the obvious way: in each round one ``generate`` call on the list prompt gives the
ranking, and one call for each chosen first token continues the first prompt; nothing is shared. Both arms have to give
the same answers. Sampling draws as many tokens from the same prompts with ``generate``, all rows together; there the
ratio is of seconds for equal numbers of tokens, above 1 where we are faster.

The floor, by counting. A round's list holds the answers of the round before, so 8 rounds follow one another. For one
question that is 7 readings of some 30 new tokens and 25 steps of one to four rows: 33 times all weights are read.
SmolLM2-135M in float32, one thread, ms of processor time on a machine that was busy besides (in brackets: a row):

    a step without the head: 1 row 52, 4 rows 81 (20), 8 rows 112 (14), 32 rows 149 (4.7)
    its products: 1 row 36 (26 with a column of zeros beside it), 2 rows 24, 4 rows 38, 8 rows 55, 32 rows 101,
    256 rows 600 (2.3); the head's: 1 row 9.8 (5.8 with that column), 4 rows 9, 8 rows 14
    a list of 30 tokens read: 150; eight of 44 tokens, a sixth of them padding: 1,050 to 1,170

Re-prompting takes some 30 steps of one row, reads the first prompt 32 times and eight growing lists from their
beginning. At these costs, with the column of zeros and nothing beside the model's own work, 32 answers can be 3.6x
faster than by re-prompting; were a step of four rows as cheap as one of a single row, 4.2x.

Sampling decodes its 256 rows together. A round of eight questions has 32, and 12 or fewer in two thirds of its steps,
since the list waits for the longest answer; lists are read besides. At these costs a token takes sampling 10.5 ms (of
which most is the reading of 256 prompts) and us 13 for the readings and steps alone: 0.8x, and 0.9x were there no
padding. More questions at once (``batch_size``) bring a token nearer to sampling's.

To decode ahead what a ranking holds next was worked out from recorded rankings and lengths: the best 16 of each round
have 86 % of the first tokens of later rounds, but rows that nobody asks for cost time, too. Decoding would take 2 %
less for one question and 22 % more for eight; so it is not done. Nor do rows leave sooner than at three quarters: 1 %.

Where the time went, per cent, before the tokens that stop were looked up once a model, single rows got their column of
zeros and caches were moved a vector at a time:

                                                one question    eight questions
    steps of decoding, without the head              52               42
    lists and first prompts read                     34               43
    looking up which tokens hold the stop text        6                1
    head, ranking, copies of caches                   8               14

Of the time for eight questions the matrix products are 71, attention 6, moved and copied caches 3; the rest is norms,
rotary positions and Python's way through 30 layers, some 15 to 20 ms each time the model is called.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from measure import add_hardware, hardware_of, interleaved, medians, per, ratio, show_and_save, timed

import armillary
from armillary.methods.icn import NUMBERED_LIST
from armillary.methods.icn.templates import FirstTokens
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad
from armillary.models.prompts import continuation_ids

QUESTIONS = [
    f"Please show me some {name}."
    for name in ("countries", "cities", "animals", "fruits", "colors", "sports", "languages", "occupations")
]
ROUNDS, PER_ROUND = 8, 4

ALIKE = {"float32": 0.9, "bfloat16": 0.7}
"""Share of answers that both arms must give, in whatever order. With 8 bits neighbouring tokens tie, another order of
sums turns the choice, and each answer is read in the rounds after it: SmolLM2's arms then share 29 of 32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    loaded = hardware.load(model)
    repeats, length = (1, 6) if options.quick else (5, 12)
    rows = against_prompting(loaded, repeats, length, ALIKE[hardware.dtype])
    rows += against_sampling(loaded, repeats, length)
    settings = {"answers": ROUNDS * PER_ROUND, "rounds": ROUNDS, "tokens of an answer at most": length}
    name = Path(model).name
    show_and_save("icn", "In-context navigation", name, settings, rows, hardware=hardware, quick=options.quick)


def navigated(loaded: LoadedModel, questions: list[str], length: int) -> list[Any]:
    """Our arm."""
    settings: dict[str, Any] = {"rounds": ROUNDS, "per_round": PER_ROUND, "max_new_tokens": length}
    navigator = armillary.Navigator(loaded, chat_template=False, **settings)
    explored: list[Any] = navigator.explore(questions)
    return explored


def against_prompting(loaded: LoadedModel, repeats: int, length: int, alike: float) -> list[dict[str, object]]:
    """One question, 32 answers; the texts of both arms have to agree."""
    texts: dict[str, list[str]] = {}

    def ours(_repeat: int) -> dict[str, float]:
        with timed(loaded.device) as spent:
            texts["ours"] = navigated(loaded, QUESTIONS[:1], length)[0].texts
        return spent

    def peer(_repeat: int) -> dict[str, float]:
        with timed(loaded.device) as spent:
            texts["peer"] = prompted(loaded, QUESTIONS[0], length)
        return spent

    ours(0)
    runs = interleaved({"peer": peer, "ours": ours}, repeats)
    same = (Counter(texts["peer"]) & Counter(texts["ours"])).total()
    if same < alike * len(texts["ours"]):
        sys.exit(f"The arms agree on {same} of {len(texts['ours'])} answers only.")
    return [
        row("32 answers against re-prompting: time, s", runs, "seconds"),
        row("32 answers against re-prompting: CPU time, s", runs, "cpu"),
        {"what": "answers on which the two agree", "peer": len(texts["peer"]), "ours": same, "ratio": constant(1.0)},
    ]


@torch.inference_mode()
def prompted(loaded: LoadedModel, question: str, length: int) -> list[str]:
    """The same by ``generate`` calls that share nothing."""
    first = FirstTokens(loaded, NUMBERED_LIST.stop)
    base = encode(loaded, [NUMBERED_LIST.base(question)])[0]
    explored: set[str] = set()
    answers: list[str] = []
    for _ in range(ROUNDS):
        row_ids = base + continuation_ids(loaded, NUMBERED_LIST.listed("", answers))
        ranked = generate(loaded, row_ids, 1, first.stop_ids, output_logits=True).logits[0][0].float()
        for token in first.best(ranked, PER_ROUND, explored, None)[0]:
            out = generate(loaded, [*base, token], length - 1, first.stop_ids).sequences[0, len(base) :].tolist()
            out = [token] if token in first.stop_ids else out
            answers.append(str(loaded.tokenizer.decode(out, skip_special_tokens=True)).split('"')[0].strip())
    return answers


def generate(loaded: LoadedModel, ids: list[int], new: int, stops: list[int], **settings: Any) -> Any:
    rows = torch.tensor([ids], device=loaded.device)
    model: Any = loaded.model
    return model.generate(
        rows,
        attention_mask=torch.ones_like(rows),
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=stops,
        pad_token_id=0,
        return_dict_in_generate=True,
        **settings,
    )


def against_sampling(loaded: LoadedModel, repeats: int, most: int) -> list[dict[str, object]]:
    """Eight questions, 32 answers each, against as many sampled tokens from the same prompts."""
    explored = navigated(loaded, QUESTIONS, most)
    tokens = sum(len(answer.tokens) for exploration in explored for answer in exploration.answers)
    answers = ROUNDS * PER_ROUND
    length = max(1, round(tokens / (answers * len(QUESTIONS))))
    prompts = encode(loaded, [NUMBERED_LIST.base(question) for question in QUESTIONS])
    ids, mask = pad(prompts, side="left", device=loaded.device)

    def ours(_repeat: int) -> dict[str, float]:
        with timed(loaded.device) as spent:
            navigated(loaded, QUESTIONS, most)
        return per(spent, tokens)

    def peer(repeat: int) -> dict[str, float]:
        torch.manual_seed(repeat)
        model: Any = loaded.model
        with timed(loaded.device) as spent:
            drawn = model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                num_return_sequences=answers,
                max_new_tokens=length,
                min_new_tokens=length,
                pad_token_id=0,
            )
        return per(spent, drawn.shape[0] * (drawn.shape[1] - ids.shape[1]))

    peer(0)
    runs = interleaved({"peer": peer, "ours": ours}, repeats)
    return [
        row("time of a token against sampling, s", runs, "seconds"),
        row("CPU time of a token against sampling, s", runs, "cpu"),
    ]


def row(what: str, runs: dict[str, list[dict[str, float]]], key: str) -> dict[str, object]:
    peer, ours = ([run[key] for run in runs[arm]] for arm in ("peer", "ours"))
    return {
        "what": what,
        "peer": medians(runs["peer"], key),
        "ours": medians(runs["ours"], key),
        "ratio": ratio(peer, ours),
    }


def constant(value: float) -> dict[str, float | int]:
    return {"median": value, "low": value, "high": value, "repeats": 1}


if __name__ == "__main__":
    main()
