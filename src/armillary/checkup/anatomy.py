"""Diagnosis: what the model is made of and where its parameters sit."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis
from armillary.models.anatomy import expert_parameters
from armillary.records.sections import Bars, Figure, Finding, Section, Table


@dataclass(frozen=True, kw_only=True)
class AnatomyFacts:
    """What a model is made of."""

    facts: dict[str, Any]
    """As the record has them of the model: name, layers, width, vocabulary and so on."""

    tied: bool
    """True where the unembedding is the embedding."""

    parameters: dict[str, int]
    """Parameters by component, the most first, counted once where they are shared."""


def _owners(context: Context) -> dict[int, str]:
    """Component of each module, by identity; the innermost named owner wins."""
    anatomy = context.loaded.anatomy
    width = anatomy.intermediate_size
    owners: dict[int, str] = {id(anatomy.head): "unembedding (head)", id(anatomy.embedding): "embedding"}
    for layer, write in zip(anatomy.layers, anatomy.ffn_writes, strict=True):
        for module in layer.modules():
            owners[id(module)] = "attention, norms and other"
        if write is None:
            # Experts, with their router and what they share.
            blocks = {name.split(".")[0] for name in expert_parameters(layer, anatomy.hidden_size)}
            for module in (part for block in blocks for part in layer.get_submodule(block).modules()):
                owners[id(module)] = "feed-forward"
            continue
        feed_forward = next(child for child in layer.modules() if write in child.children())
        # A layer may keep its feed-forward matrices as direct children (OPT): those that read are told by their width.
        reads = [child for child in layer.children() if getattr(child, "out_features", None) == width]
        for module in feed_forward.modules() if feed_forward is not layer else [write, *reads]:
            owners[id(module)] = "feed-forward"
    return owners


def measure(context: Context) -> AnatomyFacts:
    """Parameters by component, counted once where they are shared, and the facts of the model."""
    owners, counts, seen = _owners(context), Counter[str](), set[int]()
    for module in context.loaded.model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counts[owners.get(id(module), "other")] += parameter.numel()
    loaded = context.loaded
    # The record names the model beside this table, which holds what can be read as a fact.
    facts = {name: fact for name, fact in loaded.facts().items() if name not in ("identity", "converter", "unread")}
    return AnatomyFacts(facts=facts, tied=loaded.anatomy.tied, parameters=dict(counts.most_common()))


def describe(anatomy: AnatomyFacts) -> Diagnosed:
    """Component bars and the table of facts."""
    facts, counts = anatomy.facts, anatomy.parameters
    total = sum(counts.values())
    largest, size = max(counts.items(), key=lambda item: item[1])
    tied = "shared between input and output" if anatomy.tied else "separate for input and output"
    vocabulary = counts.get("embedding", 0) + counts.get("unembedding (head)", 0)
    summary = (
        f"{facts['name']} has {total / 1e6:,.1f} million parameters in {facts['layers']} layers of width "
        f"{facts['hidden']:,}; the largest share, {size / total:.0%}, is {largest}. The vocabulary of "
        f"{facts['vocabulary']:,} tokens takes {vocabulary / total:.0%}, {tied}."
    )
    figure = Figure(
        title="Where the parameters are (millions)",
        data=Bars(labels=[*counts], values=[count / 1e6 for count in counts.values()], x_label="million parameters"),
        alt=f"Bars of parameters by component; {largest} is the largest with {size / 1e6:,.1f} million.",
    )
    table = Table(title="The model", columns=["what", "value"], rows=[[key, value] for key, value in facts.items()])
    section = Section(
        id="anatomy",
        title="Anatomy",
        summary=summary,
        meaning="How the parameters are divided between the vocabulary, the attention and the feed-forward blocks. "
        "Everything below is read from these parts, found by shape and class and checked against the model's own "
        "output.",
        caution="A large share does not mean an important share: the vocabulary matrix of a small model dwarfs its "
        "layers, yet is touched one row a token.",
        figures=[figure],
        tables=[table],
    )
    interest = 0.25 if vocabulary / total > 0.4 else 0.1
    text = f"{vocabulary / total:.0%} of the parameters are vocabulary, the rest does the computing."
    return Diagnosed(section=section, findings=[Finding(text=text, interest=interest, section="anatomy")])


ANATOMY = Diagnosis(
    name="anatomy", result=AnatomyFacts, cost=lambda config: 0.7, measure=measure, descriptions=(describe,)
)
