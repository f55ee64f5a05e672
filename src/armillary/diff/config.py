"""Settings of a diff; importable without torch."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import tyro

from armillary.errors import UsageError
from armillary.runs.settings import DRY_BEFORE, DRY_MODEL, ModelSettings, at_least

Budget = Literal["2m", "10m", "30m"]


@dataclass(frozen=True, kw_only=True)
class DiffConfig(ModelSettings):
    """Say what a fine-tune, merge or quantisation changed between two models, and how sure that is.

    `armillary diff BASE AFTER`, or `armillary diff ADAPTER` for a LoRA, whose folder names its base. One model is in
    memory at a time. A run that was stopped goes on where it was when the same command is given again.
    """

    command: ClassVar[str] = "diff"

    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """The earlier model: packaged name, folder, .gguf file or hub id; or, with no second model, the folder of an
    adapter (PEFT), which names its base."""

    after: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[AFTER]")] = None
    """The later model, in the same forms; or an adapter of the first."""

    prompts: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Prompts of your own: JSONL, CSV or parquet with prompt or messages, and answer and tag where known; or the id
    of a data set. By default a set that was written for this."""

    texts: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FILE")] = ()
    """Plain texts of your own, each file under a name; by default a set that was written for this."""

    budget: Budget = "2m"
    """About how long two idle cores take for a model of 135 million parameters. A larger model is asked less, and from
    some size on takes longer. What does not fit is left out, and the page says so."""

    most_prompts: int | None = None
    """Prompts at most; by default as many as the budget allows."""

    answer_tokens: int | None = None
    """Tokens of an answer at most; by default 24, 32 or 48 by budget."""

    most_texts: int | None = None
    """Texts at most; by default as many as the budget allows."""

    def __post_init__(self) -> None:
        at_least(self, most_prompts=2, answer_tokens=1, most_texts=2)
        self.named_texts()

    def named_texts(self) -> dict[str, str]:
        """Path of each file of texts by its name. UsageError for one without a name, and for a name given twice."""
        named: dict[str, str] = {}
        for item in self.texts:
            name, sign, path = item.partition("=")
            if not (sign and name.strip() and path):
                raise UsageError(f"texts are given as NAME=FILE, such as German=de.txt; got {item!r}.")
            if name in named:
                raise UsageError(f"texts has the name {name!r} twice; give each file a name of its own.")
            named[name] = path
        return named

    def models(self) -> dict[str, str]:
        """The two models; the adapter alone in the role of the later one."""
        return {"after": self.base} if self.after is None else {"base": self.base, "after": self.after}

    def files(self) -> dict[str, str]:
        """Prompts and texts, where they are files: another content is another run."""
        from pathlib import Path

        own = {"prompts": self.prompts} if self.prompts is not None and Path(self.prompts).exists() else {}
        return {**own, **{f"texts {name}": path for name, path in self.named_texts().items()}}

    def names(self) -> tuple[str, ...]:
        """Base against after."""
        return (self.base,) if self.after is None else (self.base, "vs", self.after)

    def dry(self) -> Self:
        """Two tiny random models, few prompts and texts."""
        return replace(
            self, base=DRY_MODEL, after=DRY_BEFORE, most_prompts=8, answer_tokens=6, most_texts=48, budget="2m"
        )
