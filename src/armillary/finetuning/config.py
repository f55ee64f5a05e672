"""Settings of a tuning run as its TOML file gives them, read and checked; importable without torch."""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

from armillary.data.images.questions import IMAGE_TASKS
from armillary.errors import UsageError

Method = Literal["mdgd", "commit"]
Settings = TypeVar("Settings")

MDGD_ARMS = (
    "mdgd", "fine_tuning", "align_only", "project_only_full", "project_only_conflict", "random_direction",
    "random_mask", "l2_sp",
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
                raise UsageError("keep under [data] names tasks of the built-in pictures; for files give keep_files.")
            return
        if self.pictures != "emoji":
            raise UsageError(f'pictures under [data] must be "emoji"; got {self.pictures!r}.')
        if self.test is not None or self.keep_files:
            raise UsageError("test and keep_files under [data] go with train, not with pictures.")
        for task in (self.target, *self.keep):
            if task not in IMAGE_TASKS:
                raise UsageError(
                    f"target and keep under [data] name tasks of the pictures ({', '.join(IMAGE_TASKS)}); got "
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
class TuningConfig:
    """One tuning run."""

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
    seed: int = 0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.arm:
            object.__setattr__(self, "arm", ARMS[self.method][0])
        if self.arm not in ARMS[self.method]:
            raise UsageError(
                f"arm under [{self.method}] must be one of {', '.join(ARMS[self.method])}; got {self.arm!r}."
            )
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

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "TuningConfig":
        """The settings of a record, whose lists were tuples. UsageError for what this version does not know."""
        return built(cls, given, "the settings")


def tuning_config(method: Method, table: Mapping[str, Any], *, seed: int | None, dry_run: bool) -> TuningConfig:
    """The settings that a TOML table gives. UsageError names an unknown key, a wrong type or a missing one."""
    known = {field.name for field in fields(TuningConfig)} - {"method", "settings", "arm", "dry_run"}
    if method == "mdgd":
        known -= {"components", "learning_rates"}
    refuse_unknown(table, known | {"output", method}, "the configuration")
    for name in ("model", "data"):
        if name not in table:
            raise UsageError(f"the configuration lacks {name!r}; it needs model, output and [data].")
    given: dict[str, Any] = {name: value for name, value in table.items() if name not in ("output", method)}
    own = _table(table.get(method, {}), method)
    training = _table(table.get("training", {}), "training")
    drawn = training.pop("seed", given.pop("seed", 0))
    given |= {
        "method": method,
        "training": training,
        "arm": own.pop("arm", ""),
        "settings": own,
        "seed": drawn if seed is None else seed,
        "dry_run": dry_run,
    }
    return built(TuningConfig, given, "the configuration")


def built(kind: type[Settings], given: Mapping[str, Any], where: str) -> Settings:
    """A dataclass from plain values, each checked against its annotation; tables become dataclasses, lists tuples."""
    hints = typing.get_type_hints(kind)
    refuse_unknown(given, hints, where)
    return kind(**{name: fitted(value, hints[name], f"{name} in {where}") for name, value in given.items()})


def fitted(value: Any, hint: Any, where: str) -> Any:
    """The value as its annotation wants it. UsageError where it is of another type."""
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return built(hint, _table(value, where.split(" ")[0]), f"[{where.split(' ')[0]}]")
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _fitted_to_one(value, inside, where)
    if origin is Literal:
        if value in inside:
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(fitted(one, inside[0], where) for one in value)
    elif origin is dict or hint is dict:
        if isinstance(value, Mapping):
            kind = inside[1] if inside else Any
            return {str(name): fitted(one, kind, f"{name} in {where}") for name, one in value.items()}
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint in (int, str, bool):
        if type(value) is hint:
            return value
    else:  # an annotation that is not plain: its own class checks it
        return value
    raise UsageError(f"{where} must be {_in_words(hint)}; got {value!r}.")


def _fitted_to_one(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    kinds = [hint for hint in hints if hint is not type(None)]
    for hint in kinds:
        try:
            return fitted(value, hint, where)
        except UsageError:
            if len(kinds) == 1:
                raise
    raise UsageError(f"{where} must be {' or '.join(map(_in_words, kinds))}; got {value!r}.")


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if hint in words:
        return words[hint]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list"
    return "a table" if hint is dict or get_origin(hint) is dict else getattr(hint, "__name__", str(hint))


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"[{name}] must be a table; got {value!r}.")
    return dict(value)


def refuse_unknown(given: Mapping[str, Any], known: typing.Collection[str], where: str) -> None:
    """UsageError for the first name that is not known, with what may have been meant."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=2, cutoff=0.6)
            accepted = f"accepted: {', '.join(sorted(known))}." if len(known) < 40 else "see their documentation."
            hint = f"did you mean {' or '.join(near)}?" if near else accepted
            raise UsageError(f"there is no {name!r} in {where}; {hint}")
