"""The options of ``armillary bricks``: one class an action. Fields named as in the action's settings mean the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from armillary.cli.options import Folder, ModelName, RunOptions

Splitting = Literal["weights", "coactivation", "random"]
Method = Literal["average", "task_arithmetic", "ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"]
Names = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """What every action on a model takes."""

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ModelOptions):
    """Which neurons tell a capability, and what the model loses without them."""

    capabilities: Names = None
    """Capabilities to compare, such as code writing (docs/methods/bricks.md lists them); by default six."""

    texts: int | None = None
    """Texts of each capability to score on, 20 or more; by default 24."""

    text_file: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FILE ...")] = ()
    """Capabilities of your own: a name and a file with 40 texts or more, one a line."""


@dataclass(frozen=True, kw_only=True)
class PartitionOptions(ModelOptions):
    """Split every feed-forward block into experts, and tell whether they collect functions."""

    experts: int = 32
    """Experts of a layer."""

    by: Splitting = "weights"
    """weights groups gate rows that point the same way, coactivation what fires together, random is the baseline."""

    capabilities: Names = None
    """Capabilities whose best neurons are looked for in the experts; by default six."""

    texts: int = 20
    """Texts of each capability that tell its best neurons, 20 or more."""

    library: Folder = None
    """Library that gets the partition as a brick."""


@dataclass(frozen=True, kw_only=True)
class RouteOptions(ModelOptions):
    """Run a model with some of its experts at a token: loss on held-out texts, and what is read."""

    experts: int = 32
    """Experts of a layer."""

    k: int | None = None
    """Experts that run at a token; by default a quarter, a half and three quarters are tried."""

    share: float | None = None
    """Instead of k: the fewest experts that are predicted to hold this share of what all do."""

    router: Literal["ridge", "centroid", "mlp", "oracle"] = "ridge"
    """Who chooses: ridge and mlp are fitted, centroid needs no text, oracle looks at all neurons (a bound)."""

    by: Splitting = "coactivation"
    """How the experts are made (see `armillary bricks partition`)."""

    capabilities: Names = None
    """Capabilities on whose texts is fitted and tested; by default six."""

    texts: int = 8
    """Held-out texts of each capability."""

    mixtral: Folder = None
    """New folder for the routed model as a stock Mixtral, which transformers opens by itself; needs --k."""


@dataclass(frozen=True, kw_only=True)
class MergeOptions(ModelOptions):
    """Join adapters (PEFT folders, or bricks of a library), or whole models in folders, into one."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="BRICK_OR_FOLDER ...")]
    """Adapters, or ids of bricks with --library; or folders of models that come from MODEL, itself a folder then."""

    method: Method = "average"
    """Averages and sums of adapters are exact; ties_* are three libraries' conventions (docs/methods/bricks.md)."""

    weights: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="W ...")] = None
    """One for each input; a negative one subtracts (task_arithmetic)."""

    density: float | None = None
    """Share of the entries that TIES and DARE keep."""

    scale: float = 1.0
    """Factor on the merged change."""

    rank: int | None = None
    """Rank of the merged adapter in each module at most; by default the sum of ranks, which loses nothing."""

    allow_different_base: bool = False
    """Merge adapters of another base of the same shape all the same; the result says so."""

    to: Folder = None
    """New folder: PEFT's for adapters, transformers' for models."""

    library: Folder = None
    """Library in which ids are looked up, and which gets the merged brick."""

    recipe: bool = False
    """Do nothing but print the recipe for mergekit (or write it to the file --to)."""


@dataclass(frozen=True, kw_only=True)
class EditOptions(ModelOptions):
    """Change one fact, as a brick of rank one, and tell what else changed."""

    prompt: str
    """Text that the fact completes, e.g. "The capital of France is"."""

    subject: str
    """What the fact is about, as it stands in the prompt."""

    answer: str
    """What the model answers now."""

    new: str
    """What it shall answer."""

    paraphrases: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Other ways to ask, with the subject; capitals asked as above have some of their own."""

    neighbours: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SUBJECT=ANSWER ...")] = ()
    """Other subjects of the same question, to be left alone."""

    layer: int | None = None
    """Layer to edit; by default three are tried on other facts."""

    identity: bool = False
    """Do without the second moment of general text: faster, and less local."""

    to: Folder = None
    """New PEFT folder for the edit."""

    library: Folder = None
    """Library that gets the edit as a brick."""


@dataclass(frozen=True, kw_only=True)
class GrowOptions(ModelOptions):
    """Make a model larger without changing what it says, and train the new parts alone if wanted."""

    to: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """New folder for the larger model (experts leave as a stock Mixtral)."""

    neurons: int | None = None
    """New neurons in each feed-forward block."""

    layers: int | None = None
    """New layers, spread over the depth."""

    experts: int | None = None
    """Copies of each feed-forward block, with a router."""

    top_k: int = 2
    """Experts that run at a token, of --experts."""

    train_on: Annotated[str | None, tyro.conf.arg(metavar="CAPABILITY")] = None
    """Train the new parts alone on texts of this capability."""

    steps: int = 32
    """Steps of that training."""

    rate: float = 1e-3
    """Learning rate of it."""
