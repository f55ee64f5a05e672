"""All chains of a file judged, by a graph or by passages, with the words for the page."""

from collections.abc import Sequence

from armillary.methods.ocean.chains.graph_choice import ChosenGraph
from armillary.methods.ocean.chains.page import CheckedChain, CheckedStep, PageWords
from armillary.methods.ocean.chains.reading import WrittenChain
from armillary.methods.ocean.chains.sources import Passages
from armillary.progress import counted

BY_GRAPH = (
    "Names of entities are looked for in each step (the longest at each place, at the edges of words). A step is "
    "supported where it states, in words that are known for a relation, a fact that the graph has; contradicted where "
    "it states another tail of a relation of which the graph has all tails; else unknown."
)
BY_GRAPH_CAUTION = (
    "A supported step has one statement that holds; others in it may be unknown. What the graph has wrong or lacks "
    "counts against the step. Words that no pattern knows, pronouns, denials and doubts are unknown, and so is what "
    "follows only from two facts together."
)
BY_PASSAGES = (
    "Names and figures of each step are looked for in the passages. A step is supported where all of them stand in "
    "one passage, unsupported where not; unknown where it has none."
)
BY_PASSAGES_CAUTION = (
    "Unsupported means that the passages don't say it, not that it is false. A step that puts the right names and "
    "figures together wrongly counts as supported, and a name in other words as missing."
)


def judged_by_graph(chains: Sequence[WrittenChain], chosen: ChosenGraph) -> tuple[list[CheckedChain], PageWords]:
    """Each chain looked up in the graph. UsageError where the extra ``graphs`` is missing."""
    checker = chosen.checker()
    checked, named, ambiguous = [], 0, 0
    with counted("check chains", len(chains)) as bar:
        for chain in chains:
            verdicts = checker.check(chain.steps, chain.entity_spans)
            mentions = [mention for verdict in verdicts for mention in verdict.mentions]
            named += len(mentions)
            ambiguous += sum(len(mention.entities) > 1 for mention in mentions)
            steps = tuple(
                CheckedStep(
                    step=one.step,
                    verdict=one.verdict,
                    reason=one.reason,
                    marks=tuple((mention.start, mention.end) for mention in one.mentions),
                )
                for one in verdicts
            )
            checked.append(CheckedChain(chain=chain, steps=steps))
            bar.advance()
    held_back = checker.lexicon.held_back
    notes = [
        f"{named:,} names were found, {ambiguous:,} of which several entities bear: such a name supports by any of "
        "them and contradicts only by all."
    ]
    if held_back:
        notes.append(f"Never linked, being common words: {len(held_back):,} names, as {next(iter(held_back))}.")
    if strange := [entity for entity, _ in chosen.aliases if entity not in chosen.graph.entities]:
        notes.append(
            f"Left out, since the graph does not have their entities: {len(strange):,} of {len(chosen.aliases):,} "
            f"further names, as those of {strange[0]}."
        )
    words = PageWords(
        against="contradicted", source=f"the graph {chosen.name}", meaning=BY_GRAPH, caution=BY_GRAPH_CAUTION,
        notes=tuple(notes),
    )  # fmt: skip
    return checked, words


def judged_by_passages(
    chains: Sequence[WrittenChain], passages: Passages, name: str
) -> tuple[list[CheckedChain], PageWords]:
    """Each chain compared with its passages."""
    checked, missing = [], 0
    with counted("check chains", len(chains)) as bar:
        for chain in chains:
            verdicts = passages.check(chain.steps, chain.prompt)
            missing += any(one.reason.startswith("there is no passage") for one in verdicts)
            steps = tuple(
                CheckedStep(
                    step=one.step,
                    verdict=one.verdict,
                    reason=one.reason
                    + ("" if one.similarity is None else f"; nearest sentence: cosine {one.similarity:.2f}"),
                    marks=tuple(sorted({*one.present, *one.missing})),
                )
                for one in verdicts
            )
            checked.append(CheckedChain(chain=chain, steps=steps))
            bar.advance()
    notes = (f"Chains without a passage for their prompt: {missing:,}.",) if missing else ()
    words = PageWords(
        against="unsupported", source=f"the passages of {name}", meaning=BY_PASSAGES, caution=BY_PASSAGES_CAUTION,
        notes=notes,
    )  # fmt: skip
    return checked, words
