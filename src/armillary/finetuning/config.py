"""Settings of ``armillary train``: of a connector, and of a tuning run as its TOML file gives them. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

from armillary.data.images.questions import IMAGE_TASKS
from armillary.errors import UsageError
from armillary.records.plain import decode, refuse_unknown
from armillary.runs.settings import OneModelSettings, RunSettings, at_least


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig(OneModelSettings):
    """Join a language model with DINOv2-small and train the connector between, on questions about emoji images.

    Leaves the model in DIR/model, and a report of what it sees beside the same with shuffled images. A run that was
    killed goes on from its last checkpoint. `armillary data emoji` fetches the images.
    """

    command: ClassVar[str] = "train connector"

    steps: int = 600
    """Optimiser steps."""

    batch_size: int = 8
    """Images in one step; each is asked for its name, group, style, colour and a keyword, in one row."""

    learning_rate: float = 1e-3
    """Highest rate of the schedule, a cosine; beside adapters the connector takes a fifth of it."""

    lora_rank: int = 16
    """Of adapters of the language model, which learn with the connector and are merged at the end; 0 for none."""

    start_steps: int = 600
    """Steps in which the connector learns alone, towards embeddings of words that are true of an image; 0 for none."""

    bfloat16: bool = False
    """Multiply in bfloat16 while training: half as fast again on a processor with AVX512-BF16, slower on others."""

    readings: int = 5
    """How often on the way validation images are asked about."""

    questions: int = 100
    """Questions of each kind that are asked of the test images, at most."""

    pictures: Literal["emoji", "synthetic"] = "emoji"
    """synthetic images and a random vision tower need no download and prove that the path works, nothing else."""

    def __post_init__(self) -> None:
        at_least(self, steps=1, batch_size=1, lora_rank=0, start_steps=0, readings=1, questions=2)
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, got {self.learning_rate:g}.")

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Self:
        """Also of records in which the synthetic images bear their earlier name."""
        renamed = {"pictures": "synthetic"} if table.get("pictures") == "made-up" else {}
        return super().from_table({**table, **renamed}, where)

    def dry(self) -> Self:
        """A few steps and questions on synthetic images."""
        small = replace(super().dry(), steps=min(self.steps, 4), questions=min(self.questions, 6))
        small = replace(small, start_steps=min(self.start_steps, 4), readings=min(self.readings, 2))
        return replace(small, pictures="synthetic")


# A tuning run: the tables of its file.

Method = Literal["mdgd", "commit"]

MDGD_ARMS = (
    "mdgd", "fine_tuning", "align_only", "project_only_full", "project_only_conflict", "random_direction",
    "random_mask", "l2_sp", "text_gradient",
)  # fmt: skip
COMMIT_ARMS = ("commit", "constant", "feature_cd", "language_cd")
ARMS: dict[str, tuple[str, ...]] = {"mdgd": MDGD_ARMS, "commit": COMMIT_ARMS}
"""The method itself first, then what it is compared with in the same harness."""

COMPONENTS = ("vision_tower", "connector", "language_model")


@dataclass(frozen=True, kw_only=True)
class TuningData:
    """``[data]``: the built-in images, or files of one's own."""

    pictures: str | None = None
    """"emoji" for the built-in images."""

    target: str | None = None
    """The new task: one of the images', or a name for that of ``train``."""

    keep: tuple[str, ...] = ()
    """Old tasks of the images, asked before and after."""

    train: str | None = None
    """File to learn from: one JSON object a line with image, question, answer, and optionally choices and task."""

    test: str | None = None
    """File that the new task is tested with; without it a tenth of the images of ``train`` is held out."""

    keep_files: dict[str, str] = field(default_factory=dict)
    """Old tasks, each with its file."""

    train_limit: int | None = None
    """Questions to learn from at most."""

    test_limit: int = 200
    """Questions of each task at most, before and after."""

    prompt: str = "{image}\n{question}\nAnswer:"
    """The text before an answer, or "chat" for the chat template of the model's processor."""

    code_seed: int = 0
    """Which invented word stands for which group, in the task "code"."""

    def __post_init__(self) -> None:
        if (self.pictures is None) == (self.train is None):
            raise UsageError('[data] needs either pictures = "emoji" or train = "FILE.jsonl", and not both.')
        for name, least in (("train_limit", 1), ("test_limit", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} under [data] must be {least} or more; got {value}.")
        if self.pictures is None:
            if self.keep:
                raise UsageError("keep under [data] names tasks of the built-in images; for files give keep_files.")
            return
        if self.pictures != "emoji":
            raise UsageError(f'pictures under [data] must be "emoji"; got {self.pictures!r}.')
        if self.test is not None or self.keep_files:
            raise UsageError("test and keep_files under [data] go with train, not with pictures.")
        for task in (self.target, *self.keep):
            if task not in IMAGE_TASKS:
                raise UsageError(
                    f"target and keep under [data] name tasks of the built-in images ({', '.join(IMAGE_TASKS)}); got "
                    f"{task!r}."
                )
        if self.target in self.keep or len(set(self.keep)) < len(self.keep):
            raise UsageError(f"keep under [data] names other tasks than target, each once; got {list(self.keep)}.")

    @property
    def old_tasks(self) -> tuple[str, ...]:
        """Names of the tasks that may be forgotten."""
        return self.keep or tuple(self.keep_files)

    @property
    def new_task(self) -> str:
        """Name of the task that is learned."""
        return self.target or "target"

    @property
    def files(self) -> list[str]:
        """The files that are named."""
        return [file for file in (self.train, self.test, *self.keep_files.values()) if file is not None]


@dataclass(frozen=True, kw_only=True)
class TuningLora:
    """``[lora]``: train adapters of the language model only, and merge them at the end."""

    rank: int = 8
    alpha: int | None = None
    """None takes twice the rank."""

    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"[lora] needs a rank of 1 or more and a dropout below 1; got {self.rank} and {self.dropout}."
            )


@dataclass(frozen=True, kw_only=True)
class TuningConfig(RunSettings):
    """One tuning run: the tables of its file, with what belongs to the method in ``settings``."""

    command: ClassVar[str] = "train"

    method: Method
    model: str
    """A transformers folder or hub id of an image-text model."""

    data: TuningData
    training: dict[str, Any] = field(default_factory=dict)
    """Fields of ``transformers.TrainingArguments``."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of the method's own settings."""

    arm: str = ""
    """The method, or what it is compared with; the method by default."""

    freeze: tuple[str, ...] = ()
    """Parts of the model that stay as they are."""

    components: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """CoMMIT: component to regular expressions of parameter names; vision against language by default."""

    learning_rates: dict[str, float] = field(default_factory=dict)
    """CoMMIT: component to its rate; ``learning_rate`` for all by default."""

    lora: TuningLora | None = None
    dtype: str = "float32"
    dry_run: bool = False

    def __post_init__(self) -> None:
        arms = ARMS[self.method]
        if not self.arm:
            object.__setattr__(self, "arm", arms[0])
        if self.arm not in arms:
            raise UsageError(f"arm under [{self.method}] must be one of {', '.join(arms)}; got {self.arm!r}.")
        if wrong := set(self.freeze) - set(COMPONENTS):
            raise UsageError(f"freeze names parts of the model ({', '.join(COMPONENTS)}); got {sorted(wrong)[0]!r}.")
        if self.method == "mdgd" and not self.data.old_tasks:
            raise UsageError("[data] names no old tasks to be kept; give keep (or keep_files for files of your own).")
        if self.method == "mdgd" and (self.components or self.learning_rates):
            raise UsageError("components and learning_rates belong to `armillary train commit`.")
        if self.method == "commit" and self.lora is not None:
            raise UsageError("[lora] goes with `armillary train mdgd`; CoMMIT needs a trained encoder beside it.")
        if self.data.new_task in self.data.old_tasks:
            raise UsageError(f"the old tasks need other names than the new one, {self.data.new_task!r}.")

    def models(self) -> dict[str, str]:
        """The image-text model; under ``--dry-run`` a tiny random one in its place."""
        from armillary.models.image_text import TINY  # needs torch, which wrong settings do not wait for

        return {"model": TINY if self.dry_run else self.model}

    def files(self) -> dict[str, str]:
        """The files of questions, each known by its own path."""
        return {file: file for file in self.data.files}

    def dry(self) -> Self:
        """The same on a tiny random model and few questions."""
        return replace(self, dry_run=True)

    @classmethod
    def from_file(cls, method: Method, table: Mapping[str, Any], where: str, *, seed: int | None = None) -> Self:
        """The settings of a user's file, in which ``[mdgd]`` or ``[commit]`` holds the method's own and its arm.

        ``output`` is for the command to read. The seed is that given here, of [training], or of the file.

        Raises:
            UsageError: a key is missing, unknown or of another type; the sentence names it.
        """
        ours = {field.name for field in fields(cls)} - {"method", "settings", "arm", "dry_run"}
        refuse_unknown(table, [*sorted(ours), "output", method], where)
        own, training = (decode(dict[str, Any], table.get(name, {}), f"[{name}]") for name in (method, "training"))
        drawn = training.pop("seed", table.get("seed", 0))
        given = {name: value for name, value in table.items() if name in ours}
        given |= {"method": method, "arm": own.pop("arm", ""), "settings": own, "training": training}
        return cls.from_table({**given, "seed": drawn if seed is None else seed}, where)
