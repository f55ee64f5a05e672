"""Vector-ICL: prompts read once, the head on learned positions alone, and a start in closed form.

    python benchmarks/vector_icl.py [--model smollm2-135m-instruct] [--quick]

Asking: the classifier with 40 demonstrations against a whole prompt built anew for each query, as the released code
does, in plain transformers; seconds are those of one query (the peer is timed on fewer), and both must give the same
classes. A step: one packed sequence of about 512 tokens, backward included, against the same with the head on every
position. Starts: steps until the loss of texts that were held out is that of the ridge start after some steps (five at
a time, each five with an optimiser of their own); where a start never got there, the number of all steps stands, and
the true ratio is larger. Our goal for asking is 10x.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from measure import add_hardware, hardware_of, interleaved, medians, per, ratio, show_and_save, timed
from numpy.typing import NDArray
from torch.nn import functional

from armillary.methods.vector_icl import (
    Projector,
    TrainingConfig,
    VectorICLClassifier,
    embed_with_slots,
    new_projector,
    pretrain_projector,
    row_losses,
)
from armillary.methods.vector_icl.projector_fit import pretraining_row
from armillary.methods.vector_icl.prompts import Row, joined, text_ids
from armillary.methods.vector_icl.training import token_losses
from armillary.models import LoadedModel

WORDS = ("red", "dog", "seven", "river", "green", "house", "music", "paper")
DEMONSTRATIONS, QUERIES, PEER_QUERIES = 40, 300, 10
SEQUENCE, WARM_STEPS, ALL_STEPS, EVERY = 512, 10, 40, 5
ALIKE = {"float32": (1e-3, 1.0), "bfloat16": (0.02, 0.8)}
"""Nats a token by which the losses of a step may differ, and the share of queries that must get the same class. With 8
bits neighbouring logits tie, and another order of sums turns the class."""

STARTS = ("ridge start", "random, matched scale", "paper's start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    warnings.simplefilter("ignore")
    loaded = hardware.load("tiny-llama" if options.quick else options.model)
    repeats = 1 if options.quick else options.repeats
    texts, vectors = synthetic_texts(200) if options.quick else glosses(1000)
    nats, share = ALIKE[hardware.dtype]
    rows = asking(loaded, vectors, repeats, share) + steps(loaded, texts, vectors, repeats, nats)
    rows += starts(loaded, texts, vectors, repeats, quick=options.quick)
    settings = {"demonstrations": DEMONSTRATIONS, "queries": QUERIES, "queries of the peer": PEER_QUERIES}
    settings |= {"tokens of a sequence": SEQUENCE, "steps of the ridge start": WARM_STEPS, "all steps": ALL_STEPS}
    name, title = Path(loaded.name).name, "Vectors in context"
    show_and_save("vector_icl", title, name, settings, rows, hardware=hardware, quick=options.quick)


def glosses(count: int) -> tuple[list[str], NDArray[np.float32]]:
    """Texts of WordNet and their vectors by MiniLM, in random order."""
    from reproductions.vector_icl.data.glosses import load_glosses
    from reproductions.vector_icl.data.text_encoder import load_text_encoder

    known = load_glosses()
    texts = [known[int(i)].text for i in np.random.default_rng(0).permutation(len(known))[:count]]
    return texts, load_text_encoder().encode(texts)


def synthetic_texts(count: int) -> tuple[list[str], NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, 6)) for _ in range(count)]
    vectors = generator.normal(size=(count, 32)).astype(np.float32)
    return texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def spent_on(loaded: LoadedModel, work: Callable[[], object], count: int = 1) -> dict[str, float]:
    with timed(loaded.device) as spent:
        work()
    return per(spent, count)


def compared(what: str, runs: dict[str, list[dict[str, float]]], peer: str, ours: str) -> list[dict[str, object]]:
    return [
        {
            "what": f"{what}: {name}",
            "peer": medians(runs[peer], key),
            "ours": medians(runs[ours], key),
            "ratio": ratio([run[key] for run in runs[peer]], [run[key] for run in runs[ours]]),
        }
        for key, name in (("seconds", "time, s"), ("cpu", "CPU time, s"))
    ]


def asking(loaded: LoadedModel, vectors: NDArray[np.float32], repeats: int, alike: float) -> list[dict[str, object]]:
    words = np.array([WORDS[i % len(WORDS)] for i in range(len(vectors))])
    ours = VectorICLClassifier(loaded, shots=DEMONSTRATIONS // len(WORDS), norm="match", tune=False)
    ours.fit(vectors[:100], words[:100])
    queries = np.resize(vectors[100:], (QUERIES, vectors.shape[1]))
    labels = [text_ids(loaded, f" {word}") for word in ours.classes_]
    assert all(len(label) == 1 for label in labels) or loaded.name == "tiny-llama"

    @torch.inference_mode()
    def naive() -> list[str]:
        classes = []
        for embeds in (ours.prompt_embeds(queries[i : i + 1])[0] for i in range(PEER_QUERIES)):
            logits = loaded.model(inputs_embeds=embeds[None], logits_to_keep=1).logits[0, -1]
            classes.append(str(ours.classes_[int(logits[[label[0] for label in labels]].argmax())]))
        return classes

    if loaded.name != "tiny-llama":  # its labels have several tokens, which the peer does not read
        assert np.mean(np.array(naive()) == ours.predict(queries[:PEER_QUERIES])) >= alike
    runs = interleaved(
        {
            "anew": lambda _: spent_on(loaded, naive, PEER_QUERIES),
            "once": lambda _: spent_on(loaded, lambda: ours.predict(queries), QUERIES),
        },
        repeats,
    )
    return compared("a query after 40 demonstrations, prompt built anew over read once", runs, "anew", "once")


def steps(
    loaded: LoadedModel, texts: Sequence[str], vectors: NDArray[np.float32], repeats: int, alike: float
) -> list[dict[str, object]]:
    table = torch.as_tensor(vectors).to(loaded.device)
    projector = Projector(vectors.shape[1], loaded.anatomy.embedding.embedding_dim).to(loaded.device)
    loaded.model.requires_grad_(False)
    row = Row((), (), ())
    for index, text in enumerate(texts):
        row = joined([row, pretraining_row(loaded, index, text)])
        if len(row) >= SEQUENCE:
            break
    ids = torch.tensor([row.tokens], device=loaded.device)
    wanted = torch.tensor([[t if learned else -100 for t, learned in zip(row.tokens, row.learned, strict=True)]])

    def ours() -> float:
        projector.zero_grad()
        losses, _ = token_losses(loaded, [row], lambda chosen: projector(table[list(chosen)]))
        losses.mean().backward()
        return float(losses.mean())

    def everywhere() -> float:
        projector.zero_grad()
        embeds = embed_with_slots(loaded, ids, projector(table[list(row.vectors)]))
        logits = loaded.model(inputs_embeds=embeds).logits[0, :-1]
        loss = functional.cross_entropy(logits.float(), wanted[0, 1:].to(loaded.device), ignore_index=-100)
        loss.backward()
        return float(loss)

    assert abs(ours() - everywhere()) < alike
    whole = {"all": lambda _: spent_on(loaded, everywhere), "learned": lambda _: spent_on(loaded, ours)}
    runs = interleaved(whole, repeats + 2)
    share = sum(row.learned) / len(row)
    what = f"a training step, head on every position over on learned ones ({share:.0%} of them)"
    few = first_tokens(row)
    lean = interleaved(
        {
            "all": lambda _: spent_on(loaded, everywhere),
            "learned": lambda _: spent_on(
                loaded,
                lambda: token_losses(loaded, [few], lambda c: projector(table[list(c)]))[0].mean().backward(),
            ),
        },
        repeats + 2,
    )
    label = f"a training step, head on every position over on learned ones ({sum(few.learned) / len(few):.0%})"
    return compared(what, runs, "all", "learned") + compared(label, lean, "all", "learned")


def first_tokens(row: Row) -> Row:
    """Where only the first token after each box is learned, as of a label."""
    learned = tuple(index > 0 and row.tokens[index - 1] < 0 for index in range(len(row)))
    return Row(row.tokens, row.vectors, learned)


def starts(
    loaded: LoadedModel, texts: Sequence[str], vectors: NDArray[np.float32], repeats: int, *, quick: bool
) -> list[dict[str, object]]:
    total = 10 if quick else ALL_STEPS
    warm_steps = min(WARM_STEPS, total // 2)
    curves = {name: [curve(loaded, name, texts, vectors, seed, total) for seed in range(repeats)] for name in STARTS}
    rows = []
    for name in STARTS[1:]:
        needed = [
            next((step for step, loss in cold.items() if loss <= warm[warm_steps]), total)
            for cold, warm in zip(curves[name], curves[STARTS[0]], strict=True)
        ]
        never = sum(
            min(cold.values()) > warm[warm_steps] for cold, warm in zip(curves[name], curves[STARTS[0]], strict=True)
        )
        rows.append(
            {
                "what": f"steps to the loss of {warm_steps} steps from the ridge start, {name}"
                + (f" (not reached in {never} of {repeats} runs)" if never else ""),
                "peer": float(np.median(needed)),
                "ours": float(warm_steps),
                "ratio": ratio(needed, [warm_steps] * repeats),
            }
        )
    return rows


def curve(
    loaded: LoadedModel, name: str, texts: Sequence[str], vectors: NDArray[np.float32], seed: int, total: int
) -> dict[int, float]:
    """Steps -> nats a token of 32 texts that were held out."""
    table = torch.as_tensor(vectors)
    train, held = slice(0, -32), list(texts[-32:])
    projector = new_projector(
        loaded,
        table[train],
        norm="none" if name == STARTS[2] else "match",
        seed=seed,
        texts=list(texts[train]) if name == STARTS[0] else None,
    )
    held_out = [pretraining_row(loaded, index, text) for index, text in enumerate(held)]
    losses = {}
    for step in range(0, total + 1, EVERY):
        if step:
            config = TrainingConfig(
                steps=EVERY, batch_size=8, learning_rate=3e-3, warmup=0.0, patience=None, seed=step
            )
            chosen = np.random.default_rng((seed, step)).permutation(len(texts) - 32)[: 8 * EVERY]
            pretrain_projector(loaded, projector, table[chosen], [texts[int(i)] for i in chosen], config)
        losses[step] = held_out_loss(loaded, projector, table[-32:], held_out)
    return losses


@torch.inference_mode()
def held_out_loss(loaded: LoadedModel, projector: Projector, table: torch.Tensor, rows: list[Row]) -> float:
    slots = projector(table.to(loaded.device))
    return row_losses(loaded, rows, lambda chosen: slots[list(chosen)]).mean


if __name__ == "__main__":
    main()
