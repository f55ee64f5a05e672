"""What each method is, said once: help, docs, reports and tests read it from here. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """One published method."""

    name: str
    """As the command line and ``armillary.methods`` spell it."""

    title: str
    """What it shows or does, in a few words."""

    paper: str
    """Title of the paper."""

    authors: str
    """First author and year, as one cites it."""

    arxiv: str
    """Number on arXiv, e.g. "2502.04520"."""

    claim: str
    """The paper's claim in one sentence."""

    finding: str
    """What we found, in words that rest on ``evidence`` alone."""

    evidence: tuple[str, ...]
    """Claims behind ``finding`` with the verdict that every committed record gives them, as "fit-exists holds"."""

    commands: tuple[str, ...]
    """Command lines that run it, each as a user would type it."""

    evidence_models: str = ""
    """What its claims are judged on where that is not the model named in a record; tables show it in its place."""

    experiments: tuple[str, ...] = ()
    """Further experiments of the method beside the one of its name, as ``armillary reproduce`` takes them."""

    experiment_models: tuple[tuple[str, str], ...] = ()
    """What these are judged on where that is not the model named in a record: (experiment, models) each."""

    @property
    def link(self) -> str:
        """Where the paper is read."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **asdict(self),
            "evidence": list(self.evidence),
            "commands": list(self.commands),
            "experiments": list(self.experiments),
            "experiment_models": dict(self.experiment_models),
            "link": self.link,
        }


LINCORR = MethodCard(
    name="lincorr",
    title="Linear correlation of next-token logits",
    paper="Linear Correlation in LM's Compositional Generalization and Hallucination",
    authors="Peng et al., 2025",
    arxiv="2502.04520",
    claim=(
        "For some pairs of relations (city and country) one linear map turns a language model's next-token logits for "
        "the first into those for the second; the map survives fine-tuning, and tells where a new fact carries over "
        "rightly or wrongly."
    ),
    finding=(
        "The map is there, graded by the relation, and its weights partly mirror the real relation. It is no forecast "
        "of an edit: the same words' change where the fact was taught, which needs no map, tells better what moves. "
        "Whether it survives fine-tuning is undecided, and what it says of wrong generalisation needs a larger model."
    ),
    evidence=(
        "fit-exists holds",
        "graded holds",
        "mirrors-world holds",
        "causal-transfer fails",
        "resilient undecided",
        "correlation-without-precision undecided",
        "no-transfer-without-precision undecided",
    ),
    commands=(
        "armillary lincorr smollm2-135m-instruct --relation city-country",
        "armillary reproduce lincorr --preset laptop",
    ),
)

ICN = MethodCard(
    name="icn",
    title="Vocabulary key space and in-context navigation",
    paper="Correlation and Navigation in the Vocabulary Key Representation Space of Language Models",
    authors="Peng et al., 2024",
    arxiv="2410.02284",
    claim=(
        "The next-token distribution ranks tokens whose keys resemble those of the top token, right or wrong; listing "
        "explored answers in the context moves the query away from them, to correct answers far down the ranking."
    ),
    finding=(
        "Keys form clusters of tokens that belong together; the ranks below the top are filled from the clusters of "
        "the top tokens, which are less accurate there than others. It is not shown that navigation finds more "
        "correct answers than branches of one prompt do, though it finds more than sampling; nor that listed answers "
        "move the query away from themselves more than from others of their class."
    ),
    evidence=(
        "clusters holds",
        "spread holds",
        "spurious-in-cluster holds",
        "navigation undecided",
        "more-correct-answers undecided",
        "self-consistency undecided",
        "fixed-keys fails",
    ),
    commands=(
        'armillary icn ask smollm2-135m-instruct --prompt "Please show me some countries." --n 32',
        "armillary icn keys smollm2-135m-instruct",
        "armillary reproduce icn --preset laptop",
    ),
)

MODELDIFF = MethodCard(
    name="modeldiff",
    title="Prediction differences over an input space",
    paper="Model-diff: A Tool for Comparative Study of Language Models in the Input Space",
    authors="Liu et al., 2024",
    arxiv="2412.12177",
    claim=(
        "Sampling from two models and weighing each sample by what it stands for counts, without a benchmark, the "
        "inputs that at least one of them finds plausible and on which they disagree, by how much, with examples."
    ),
    finding=(
        "Counted against enumeration, samples tell the truth only when each is weighed by what it stands for; then "
        "both directions see one overlap, and the intervals of default windows cover. Copies are told from models "
        "trained independently by their weights (`modeldiff lineage`). But by predictions alone they are not, and the "
        "difference does not order models by descent; whether every count is right within a hundredth is undecided."
    ),
    evidence=(
        "weights-matter holds",
        "one-overlap holds",
        "default-windows holds",
        "lineage holds",
        "kinship fails",
        "copies fails",
        "exact undecided",
    ),
    commands=(
        "armillary modeldiff smollm2-135m-instruct my-tuned-model",
        "armillary modeldiff lineage smollm2-135m-instruct my-tuned-model",
        "armillary reproduce modeldiff --preset laptop",
    ),
)

BRICKS = MethodCard(
    name="bricks",
    title="Functional parts: find, route, merge, update, grow",
    paper="Configurable Foundation Models: Building LLMs from a Modular Perspective",
    authors="Xiao et al., 2024",
    arxiv="2409.02877",
    claim=(
        "A language model can be treated as a set of functional parts: neurons specialised for capabilities are found "
        "in it, adapters are added to it, and parts can be routed, merged, edited and grown without touching the rest."
    ),
    finding=(
        "Every layer has neurons that tell a capability, their sets are further apart than chance makes them, and "
        "neurons that act together collect them; the adapter retrieved for an input does at least as well as the best "
        "fixed one. But leaving out most neurons, or most experts of a partition made without training, costs quality."
    ),
    evidence=(
        "functional-neurons holds",
        "sets-are-apart holds",
        "partitionable holds",
        "retrieval holds",
        "masking-is-free fails",
        "routing-keeps-quality fails",
    ),
    commands=(
        "armillary bricks profile smollm2-135m-instruct",
        "armillary bricks sparsify smollm2-135m-instruct --share 0.25",
        'armillary bricks edit smollm2-135m-instruct --prompt "The capital of France is" --subject France '
        "--answer Paris --new Rome",
        "armillary reproduce bricks --preset laptop",
    ),
)

MDGD = MethodCard(
    name="mdgd",
    title="Modality-decoupled gradient descent",
    paper=(
        "Mitigating Visual Knowledge Forgetting in MLLM Instruction-tuning via Modality-decoupled Gradient Descent"
    ),
    authors="Wu et al., 2025",
    arxiv="2502.11740",
    claim=(
        "Instruction tuning on text-driven data flattens an image-text model's visual representations and destroys "
        "visual skills; taking the drift's direction out of the task gradient, and pulling image states back, keeps "
        "them."
    ),
    finding=(
        "In small models trained here, what fine-tuning forgets is sight: image states become illegible to the model "
        "as it was. MDGD keeps skills and rank at less than two plain steps, but letting no task gradient through "
        "image tokens, or alignment alone, keeps the skills too. Of a real model that sees, of which the last layers "
        "are tuned, it keeps little, and a fifth of the rate keeps far more. What taking the drift's direction out "
        "adds is undecided."
    ),
    evidence=(
        "visual-forgetting holds",
        "mostly-visual holds",
        "rank-falls holds",
        "retains holds",
        "rank-kept holds",
        "cost holds",
        "text-gradient-retains holds",
        "align-retains holds",
        "projection-alone undecided",
        "projection-beside-alignment undecided",
        "beats-simple-controls undecided",
        "real-forgets holds",
        "real-retains fails",
        "real-projection undecided",
        "real-simple-controls fails",
    ),
    commands=(
        "armillary train mdgd examples/train_mdgd.toml",
        "armillary reproduce mdgd --preset laptop",
    ),
    evidence_models="small models trained here (3 layers of width 96)",
    experiments=("mdgd_real",),
)

COMMIT = MethodCard(
    name="commit",
    title="Balanced learning of encoder and language model",
    paper="CoMMIT: Coordinated Multimodal Instruction Tuning",
    authors="Li et al., 2025",
    arxiv="2407.20454",
    claim=(
        "When a feature encoder and a language model are tuned together, one often moves the answers much further "
        "than the other; measuring this balance on line and setting the two learning rates by it speeds learning up."
    ),
    finding=(
        "At equal rates one component moves the output more; slowing one further costs loss, though at the same mean "
        "rate a slow encoder ends lower. CoMMIT-CLR ends at a lower loss than constant rates and both kinds of "
        "coordinate descent, but whether with more right answers is not decided. From rates far too low it repairs "
        "those of the language model by loss, not those of the encoder, and takes back only a part of the imbalance. "
        "With sounds its mean rates from the first step do as well, and on a real model it mends the balance and "
        "gains no loss. A regulariser of ours in place of the paper's does not help."
    ),
    evidence=(
        "unbalanced-at-equal-rates holds",
        "imbalance-hurts holds",
        "ratio-has-an-optimum fails",
        "beats-baselines holds",
        "answers-better undecided",
        "repairs-slow-llm holds",
        "repairs-slow-encoder fails",
        "mends-the-imbalance fails",
        "regulariser-adds fails",
        "sounds-more-than-larger-rates fails",
        "real-rebalances holds",
        "real-repairs-slow-encoder fails",
    ),
    commands=(
        "armillary train commit examples/train_commit.toml",
        "armillary reproduce commit --preset laptop",
    ),
    evidence_models="small models trained here (2 layers of width 64)",
    experiments=("commit_real",),
)

VECTOR_ICL = MethodCard(
    name="vector_icl",
    title="In-context learning from vectors",
    paper="Vector-ICL: In-context Learning with Continuous Vector Representations",
    authors="Zhuang et al., 2025",
    arxiv="2410.05629",
    claim=(
        "A frozen language model learns in context from the vectors of any encoder (of texts, numbers, series, "
        "molecules, graphs), one token each, once a light projector into its embedding space is trained."
    ),
    finding=(
        "From a projector trained on functions of two numbers, values are told better by digit vectors than by digits "
        "as text, and better with more points; the demonstrations' labels are read, and a better encoder gives better "
        "answers. Vectors of topics have not been shown to beat their texts; on series and molecules they trail "
        "simple rivals that read the text, and captions were not surely learned."
    ),
    evidence=(
        "regression holds",
        "shots-help-numbers holds",
        "in-context holds",
        "better-encoders holds",
        "untuned-beats-text undecided",
        "beats-text-where-text-is-poor undecided",
    ),
    commands=(
        "armillary vector-icl fit vectors.csv --targets label --out armillary-runs/vectors",
        "armillary vector-icl predict armillary-runs/vectors new.csv",
        "armillary reproduce vector_icl --preset laptop",
    ),
)

ULTRAGEN = MethodCard(
    name="ultragen",
    title="Text under tens of attributes at once",
    paper=(
        "UltraGen: Extremely Fine-grained Controllable Generation via Attribute Reconstruction and Global Preference "
        "Optimization"
    ),
    authors="Yun et al., 2025",
    arxiv="2502.12375",
    claim=(
        "A language model tuned to reconstruct texts from about 45 of their own attributes, and then to prefer what "
        "satisfies combinations that no text had, satisfies more of them, wherever in the prompt they stand."
    ),
    finding=(
        "In a toy world with exact oracles a model meets a smaller share of many attributes than of few; "
        "reconstruction raises it on unseen texts, there and on a small language model, whose one answer then meets "
        "more than the best of several before; preferences teach more than their better answers do, and what false "
        "attributes cost is mostly won back by correction. But one answer after preferences stays behind the best of "
        "several before, attributes that nothing can meet are not found by samples, the language model looks no more "
        "at an attribute where it matters, and what is gained on unseen combinations and on position is undecided."
    ),
    evidence=(
        "degrades holds",
        "ar-helps holds",
        "tuned-ar-helps holds",
        "tuned-ar-follows holds",
        "tuned-ar-beats-best-of-4 holds",
        "preference-beyond-chosen holds",
        "correction-recovers holds",
        "gpo-beats-best-of-8 fails",
        "tuned-gpo-beats-best-of-4 fails",
        "never-met-finds fails",
        "tuned-attention fails",
        "gpo-generalises undecided",
        "tuned-gpo-generalises undecided",
        "ar-position undecided",
        "tuned-position undecided",
    ),
    evidence_models="small decoders of a toy world",
    experiments=("ultragen_real", "ultragen_tuned"),
    commands=(
        "armillary ultragen derive texts.jsonl",
        "armillary ultragen check answers.jsonl",
        "armillary ultragen build texts.jsonl",
        "armillary ultragen train smollm2-135m-instruct armillary-runs/ultragen-build-texts",
        "armillary reproduce ultragen --preset laptop",
    ),
)

ORDERING = MethodCard(
    name="ordering",
    title="The order of the steps inside a sample",
    paper="Next-Token Prediction Task Assumes Optimal Data Ordering for LLM Training in Proof Generation",
    authors="An et al., 2024",
    arxiv="2411.00863",
    claim=(
        "A language model learns proofs best from samples in which all that helps to find a step stands to its left; "
        "the same steps in another order cost proof success."
    ),
    finding=(
        "With the same tokens, weights and steps small models prove many more theorems in the sequential order than "
        "in that in which proofs are verified; the loss sits on steps without their support, and any order with all "
        "support to the left does as well for proofs. But a state right behind its action does no more harm than no "
        "state, and an answer far ahead of its grounds is not justified by them. Whether every dose of disorder costs "
        "more, how close orders rank, and whether more training closes the gap, is undecided."
    ),
    evidence=(
        "order-matters holds",
        "logical-worse holds",
        "any-extension holds",
        "surplus-on-the-unsupported holds",
        "surplus-on-sums holds",
        "shuffled-worse holds",
        "left-states-help holds",
        "right-states-hurt fails",
        "post-hoc fails",
        "dose-response undecided",
        "seq-best undecided",
        "gap-shrinks undecided",
        "order-ladder undecided",
    ),
    evidence_models="small decoders trained here",
    experiments=("ordering_multiplication", "ordering_logic"),
    experiment_models=(("ordering_multiplication", "small decoders trained here"), ("ordering_logic", "no model")),
    commands=(
        "armillary ordering audit steps.jsonl",
        "armillary ordering audit steps.jsonl --to ordered.jsonl",
        "armillary ordering train --data steps.jsonl",
        "armillary reproduce ordering --preset laptop",
    ),
)

OCEAN = MethodCard(
    name="ocean",
    title="Chains of thought against a knowledge graph, offline",
    paper="OCEAN: Offline Chain-of-thought Evaluation and Alignment in Large Language Models",
    authors="Wu et al., 2025",
    arxiv="2410.23703",
    claim=(
        "By accounts of the paper: how well a model's chains of thought agree with a knowledge graph can be told from "
        "logged chains alone, by "
        "weighing their entities with a policy trained on the graph's paths; ascending that value makes chains truer "
        "without the damage that supervised tuning does."
    ),
    finding=(
        "In a small world the value, taken on chains of the base policy, ranks mixtures of that policy and the "
        "graph's by how true their chains are, self-normalised too, and better than likelihood does; on chains of "
        "lambda, as the theory asks, it does not. The stable objective makes held-out chains truer there, by the "
        "graph and not by sharpening. Whether the paper's own objective does is undecided: it moves probability to "
        "what was never logged. Supervised tuning costs more elsewhere; on logged chains that lookup calls true it "
        "reached more, which is undecided. On a real model the value rises, that more answers are right is not "
        "shown, and the stable objective makes fewer of them right."
    ),
    evidence=(
        "unbiased holds",
        "literal-lower-bound fails",
        "ranks-policies holds",
        "ranks-self-normalised holds",
        "beyond-likelihood holds",
        "theory-regime-is-blind holds",
        "faithful undecided",
        "faithful-stable holds",
        "graph-counts holds",
        "sft-costs-more holds",
        "raw-ascent-flees holds",
        "beats-weighted undecided",
        "real-value-rises holds",
        "real-faithful undecided",
        "real-faithful-stable fails",
    ),
    evidence_models="small models trained here",
    experiments=("ocean_real",),
    commands=(
        "armillary ocean check chains.jsonl --kg geography",
        "armillary ocean evaluate smollm2-135m-instruct chains.jsonl --kg geography",
        "armillary ocean align smollm2-135m-instruct chains.jsonl --kg geography",
        "armillary reproduce ocean --preset laptop",
    ),
)

CARDS: tuple[MethodCard, ...] = (LINCORR, ICN, MODELDIFF, BRICKS, MDGD, COMMIT, VECTOR_ICL, ULTRAGEN, ORDERING, OCEAN)
"""Every method, in the order in which the tables show them."""
