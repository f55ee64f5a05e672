"""What each method is, said once: help, docs, reports and tests read it from here. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """One published method of the house."""

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

    commands: tuple[str, ...]
    """Command lines that run it, each as a user would type it."""

    evidence_models: str = ""
    """What its claims are judged on where that is not the model named in a record; tables show it in its place."""

    experiments: tuple[str, ...] = ()
    """Further experiments of the method beside the one of its name, as ``armillary reproduce`` takes them."""

    @property
    def link(self) -> str:
        """Where the paper is read."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **asdict(self),
            "commands": list(self.commands),
            "experiments": list(self.experiments),
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
    commands=(
        "armillary bricks profile smollm2-135m-instruct",
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
    commands=(
        "armillary train mdgd examples/train_mdgd.toml",
        "armillary reproduce mdgd --preset laptop",
    ),
    evidence_models="small models trained here",
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
    commands=(
        "armillary train commit examples/train_commit.toml",
        "armillary reproduce commit --preset laptop",
    ),
    evidence_models="small models trained here",
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
    commands=(
        "armillary vector-icl fit vectors.csv --targets label --out armillary-runs/vectors",
        "armillary vector-icl predict armillary-runs/vectors new.csv",
        "armillary reproduce vector_icl --preset laptop",
    ),
)

CARDS: tuple[MethodCard, ...] = (LINCORR, ICN, MODELDIFF, BRICKS, MDGD, COMMIT, VECTOR_ICL)
"""Every method, in the order in which the tables show them."""
