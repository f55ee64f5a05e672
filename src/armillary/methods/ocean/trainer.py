"""Off-policy alignment of a model to a knowledge graph: ``OceanTrainer`` on the stock Trainer of transformers."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.methods.ocean import objectives
from armillary.methods.ocean.config import OceanSettings
from armillary.methods.ocean.estimate import Estimate, Resampling, kg_ips
from armillary.methods.ocean.rows import ChainRow, TokenRows, read_chains, token_rows
from armillary.methods.ocean.scores import (
    ChainBatch,
    References,
    evaluating,
    references,
    shares_of,
    spread_span_log_probs,
    token_log_probs,
)
from armillary.methods.ocean.stored import Item, Known, StoredReferences, collated
from armillary.progress import counted
from armillary.training.checkpoints import CheckpointWeightsMixin, trained_besides, without_adapter

FILE = "ocean_references.safetensors"
"""In the run's folder: what base and graph policy said of the training rows when the run began."""

MOST = math.log(torch.finfo(torch.float32).max)
"""Largest log-ratio whose ratio is a number of float32."""


@dataclass
class OceanConfig(OceanSettings, TrainingArguments):
    """``TrainingArguments`` with the fields of ``OceanSettings``. UsageError for a value that is not accepted."""

    remove_unused_columns: bool = field(default=False)
    """The columns of logged chains are no arguments of a model."""

    def __post_init__(self) -> None:
        self.check()
        super().__post_init__()  # type: ignore[no-untyped-call]


@dataclass
class _Sums:
    """What the log tells, summed over chains or tokens since its last line."""

    value: float = 0.0
    divergence: float = 0.0
    chains: float = 0.0
    weight: float = 0.0
    square: float = 0.0
    tokens: float = 0.0
    entity_weight: float = 0.0
    entities: float = 0.0

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Under the names of the log; no entity ratio where no entity was seen."""
        figures = {
            "ocean/value": self.value / self.chains,
            "ocean/kl": self.divergence / self.chains,
            "ocean/ess": self.weight**2 / self.square / self.tokens if self.square > 0 else 0.0,
        }
        if self.entities:
            figures["ocean/entity_ratio_mean"] = self.entity_weight / self.entities
        return {f"{prefix}{name}": value for name, value in figures.items()}


class OceanTrainer(CheckpointWeightsMixin):
    """Raises the value of logged chains, by the paper's objective or the stable one (``OceanConfig.objective``).

    Rows have the columns prompt, steps, entity_spans and optionally answer and logging (``rows.read_chains``). The
    base policy is ``ref_model``; without one the model with its adapter off, or the model as it is when training
    begins. ``kg_policy`` is a causal model of the same vocabulary; with ``entity_ratio="span"`` any, with its
    tokenizer in ``kg_processing_class``. Dropout is off while training, so that a policy's ratio to itself is 1.

    The log gets ``ocean/value`` (the paper's value, nats a token, whatever is ascended), ``ocean/ess`` (effective
    sample size as a share of the tokens), ``ocean/entity_ratio_mean`` (mean of pi_theta / mu on entity tokens) and
    ``ocean/kl`` (divergence from the base policy, nats a token). A step is a mean over chains, however these are
    spread over micro-batches and processes. UsageError for set-ups and rows that are not accepted.
    """

    def __init__(
        self,
        model: PreTrainedModel | nn.Module,
        ref_model: PreTrainedModel | None = None,
        *,
        kg_policy: PreTrainedModel,
        args: OceanConfig,
        train_dataset: Iterable[Mapping[str, object]],
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: Iterable[Mapping[str, object]] | None = None,
        kg_processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: object | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = args
        if args.deepspeed or args.fsdp or args.n_gpu > 1:
            raise UsageError(
                "OCEAN is tested on one device a process and on plain data parallelism (DDP), not with shards."
            )
        if peft_config is not None:
            model = cast(nn.Module, optional("peft", "adapters").get_peft_model(model, peft_config))
        if hasattr(model, "disable_adapter") and ref_model is None and (besides := trained_besides(model)):
            raise UsageError(
                f"{next(iter(besides))} is trained with or without the adapter, so that switching it off gives no "
                "base policy; give ref_model."
            )
        if not args.precompute_ref_log_probs and ref_model is None and not hasattr(model, "disable_adapter"):
            raise UsageError(
                "without precompute_ref_log_probs a base policy must be there at each step: give ref_model or an "
                "adapter."
            )
        require_tokenizers(args, processing_class, kg_processing_class)
        self.ref_model, self.kg_policy = ref_model, kg_policy
        self._kg_tokenizer = kg_processing_class if args.entity_ratio == "span" else None
        self.train_rows = self._tokens(train_dataset, processing_class)
        self.eval_rows = None if eval_dataset is None else self._tokens(eval_dataset, processing_class)
        self._sums, self._eval_sums = _Sums(), _Sums()
        train = self._items(self.train_rows, 0, train_dataset)
        held_out = None
        if self.eval_rows is not None and eval_dataset is not None:
            held_out = self._items(self.eval_rows, len(train), eval_dataset)
        self.splits = {"train": train, "eval": held_out or []}
        self.stored = StoredReferences([*train, *(held_out or [])])
        super().__init__(
            model=model,
            args=args,
            train_dataset=cast(Any, train),
            eval_dataset=cast(Any, held_out),
            processing_class=processing_class,
            data_collator=cast(Any, collated),
            **kwargs,
        )
        self.loss_is_scaled_for_ga = True  # by the number of chains of the step, counted below
        self.label_names: list[str] = []

    # Rows.

    def _tokens(self, dataset: Iterable[Mapping[str, object]], tokenizer: PreTrainedTokenizerBase) -> TokenRows:
        settings = self.settings
        chains = read_chains(dataset, tokenizer=tokenizer, logged_by=settings.logged_by)
        rows = token_rows(tokenizer, chains, separator=settings.separator, max_length=settings.max_length)
        if rows.left_out:
            warnings.warn(
                f"{rows.left_out} rows longer than {settings.max_length} tokens were left out.", stacklevel=3
            )
        return rows

    def _items(self, tokens: TokenRows, first: int, dataset: Iterable[Mapping[str, object]]) -> list[Item]:
        """The rows as the collator takes them, numbered from ``first`` on."""
        own: list[ChainRow | None] = [None] * len(tokens.rows)
        if self._kg_tokenizer is not None:
            chains = read_chains(dataset, tokenizer=self._kg_tokenizer, logged_by=self.settings.logged_by)
            kept = [chains[index] for index in tokens.kept]
            own = [*token_rows(self._kg_tokenizer, kept, separator=self.settings.separator).rows]
        return [
            Item(row, shares, first + index, kg_row)
            for index, (row, shares, kg_row) in enumerate(zip(tokens.rows, shares_of(tokens.rows), own, strict=True))
        ]

    # References.

    @contextmanager
    def _base(self) -> Iterator[nn.Module]:
        """The base policy."""
        own = cast(nn.Module, self.accelerator.unwrap_model(self.model))
        if self.ref_model is not None:
            yield self.ref_model.to(self.args.device)  # type: ignore[arg-type]
        else:
            with without_adapter(own) if hasattr(own, "disable_adapter") else nullcontext():
                yield own

    def _references(self, items: Sequence[Item], batch: ChainBatch) -> References:
        """Base and graph policy on these rows, read now."""
        settings, kg = self.settings, self.kg_policy.to(self.args.device)  # type: ignore[arg-type]
        shaped_B = torch.tensor([item.row.logging != "lambda" for item in items], device=batch.input_ids_BL.device)
        own = [item.kg_row for item in items if item.kg_row is not None]
        with self._base() as base, evaluating(base, kg), self.accelerator.autocast():
            read = references(base, None if own else kg, batch, ratio_clip=settings.ratio_clip, shaped_B=shaped_B)
            logp_kg = read.logp_kg_BL
            if own:
                logp_kg = spread_span_log_probs(kg, [item.row for item in items], own, batch.input_ids_BL.device)
        if settings.propensity_floor is not None:
            least = math.log(settings.propensity_floor)
            return References(read.logp_base_BL.clamp(min=least), logp_kg.clamp(min=least), read.baseline_BL)
        # Beyond this the weight of a model that is still the base policy is no number.
        rare_BL = batch.is_entity_BL & (read.logp_base_BL - logp_kg > MOST)
        missing_BL = torch.isneginf(read.logp_base_BL) | torch.isneginf(logp_kg) | rare_BL
        if bool(missing_BL.any()):
            raise UsageError(
                f"row {items[int(missing_BL.any(1).nonzero()[0])].index} has a token without probability, or next to "
                "none, under the base or the graph's policy; mend the log, or give a propensity_floor such as 1e-6."
            )
        return References(read.logp_base_BL, logp_kg, read.baseline_BL)

    def _precompute(self) -> None:
        """Each process reads its share of the rows; all get all."""
        items, size = self.stored.items, self._batch_size
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        # Rows of like length together: padding costs, and changes no number but by rounding.
        order = sorted(range(len(items)), key=lambda index: len(items[index].row.input_ids))
        chunks = [order[start : start + size] for start in range(0, len(order), size)][rank::processes]
        read: dict[int, Known] = {}
        with torch.no_grad(), counted("OCEAN: base and graph policy", len(chunks)) as bar:
            for chunk in chunks:
                chosen = [items[index] for index in chunk]
                batch = ChainBatch.of([item.row for item in chosen], self.args.device)
                known = self._references(chosen, batch)
                for place, item in enumerate(chosen):
                    scored = batch.scored_BL[place]
                    tensors = (known.logp_base_BL, known.logp_kg_BL, known.baseline_BL)
                    base, kg, baseline = (values[place, scored].float().cpu() for values in tensors)
                    read[item.index] = (base, kg, baseline)
                bar.advance()
        if processes > 1:
            shares: list[dict[int, Known]] = [{} for _ in range(processes)]
            distributed.all_gather_object(shares, read)
            read = {index: known for share in shares for index, known in share.items()}
        self.stored.fill(read, self.settings.ratio_clip)

    @property
    def _batch_size(self) -> int:
        return max(1, int(self.args.per_device_train_batch_size))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """The stock training; base and graph policy are read before it, or what they said is found again.

        UsageError where a run is resumed on other rows, or in a folder that does not have what it began with.
        """
        if self.settings.precompute_ref_log_probs:
            output = str(self.args.output_dir)
            checkpoint: Any = get_last_checkpoint(output) if resume_from_checkpoint is True else resume_from_checkpoint
            if checkpoint:
                self.stored.load(Path(checkpoint).parent / FILE)
            else:
                self._require_stored()
                if self.is_world_process_zero():
                    self.stored.save(Path(output) / FILE)
                self.accelerator.wait_for_everyone()
        with without_dropout(cast(nn.Module, self.model)):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def _require_stored(self) -> None:
        """Read base and graph policy, unless that was done; the model is still as it was given."""
        if self.settings.precompute_ref_log_probs and not self.stored.complete:
            self._precompute()

    # Loss.

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The stock micro-batches of one step, and the number of their chains over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        chains = torch.tensor(float(sum(len(batch["input_ids"]) for batch in batches)), device=device)
        if self.accelerator.num_processes > 1:
            chains = cast(Tensor, self.accelerator.reduce(chains, reduction="sum"))
        return batches, chains

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Minus the objective: the chains' sum over the number of chains of the step."""
        values = self._objective(model, inputs)
        if num_items_in_batch is None:
            loss = -values.mean()
        else:
            # Gradients are averaged over processes, and the count is that of all of them.
            loss = -values.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def _objective(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """``[B]``; what the log tells is noted on the way."""
        settings, shares_BL = self.settings, cast(Tensor, inputs["shares"])
        batch = ChainBatch(inputs["input_ids"], inputs["attention_mask"], inputs["step_ids"], inputs["span_ids"])
        known = self._known(inputs, batch)
        base_BL, kg_BL, entity_BL = known.logp_base_BL, known.logp_kg_BL, batch.is_entity_BL
        own_BL, ratio_BL = token_log_probs(model, batch), base_BL
        if self._kg_tokenizer is not None:
            own_BL, ratio_BL = (objectives.spread_spans(values, batch.span_ids_BL) for values in (own_BL, base_BL))
        lambda_BL = torch.where(entity_BL, kg_BL, base_BL)
        shaped_BL = inputs["shaped"][:, None] & entity_BL
        logging_BL = torch.where(shaped_BL, ratio_BL, lambda_BL)
        paper_B = objectives.kg_ips_objective(own_BL, lambda_BL, base_BL, shares_BL)
        kl_B = objectives.nested_mean(objectives.divergence_terms(own_BL, ratio_BL, logging_BL), shares_BL)
        weight_BL = torch.where(batch.scored_BL, (own_BL.detach() - lambda_BL).exp(), 0.0)
        self._note(model.training, batch, paper_B.detach(), kl_B.detach(), weight_BL)
        if settings.objective == "kg_ips":
            return paper_B
        factor_BL = objectives.graph_factor(ratio_BL, kg_BL, shaped_BL, settings.ratio_clip)
        baseline_BL = known.baseline_BL if settings.baseline == "expected" else torch.zeros_like(base_BL)
        stable_B = objectives.stable_objective(
            own_BL, logging_BL, factor_BL * base_BL, baseline_BL, shares_BL, settings.weight_clip
        )
        return stable_B - settings.beta_kl * kl_B

    def _known(self, inputs: Mapping[str, Any], batch: ChainBatch) -> References:
        indices = [int(index) for index in inputs["index"]]
        if self.settings.precompute_ref_log_probs:
            return self.stored.of(indices, batch)
        with torch.no_grad():
            return self._references([self.stored.items[index] for index in indices], batch)

    # Log.

    def _note(self, training: bool, batch: ChainBatch, value_B: Tensor, kl_B: Tensor, weight_BL: Tensor) -> None:
        sums = self._sums if training else self._eval_sums
        entity_BL = batch.is_entity_BL
        more = (
            value_B.sum(), kl_B.sum(), len(value_B), weight_BL.sum(), weight_BL.square().sum(), batch.scored_BL.sum(),
            weight_BL[entity_BL].sum(), entity_BL.sum(),
        )  # fmt: skip
        for one, added in zip(fields(sums), more, strict=True):
            setattr(sums, one.name, getattr(sums, one.name) + float(cast(float, added)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The stock line, with what OCEAN adds to lines of training and of evaluation."""
        for name, prefix, sums in (("loss", "", self._sums), ("eval_loss", "eval_", self._eval_sums)):
            if name not in logs:
                continue
            values = torch.tensor([getattr(sums, one.name) for one in fields(sums)], dtype=torch.float32)
            if self.accelerator.num_processes > 1:
                values = cast(Tensor, self.accelerator.reduce(values.to(self.args.device), reduction="sum"))
            total = _Sums(*values.tolist())
            if total.chains:
                logs.update(total.figures(prefix))
            for one in fields(sums):
                setattr(sums, one.name, 0.0)
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The stock evaluation on the rows that were given at the beginning; ``estimate`` gives intervals."""
        if args or "eval_dataset" in kwargs or self.eval_rows is None:
            raise UsageError("give eval_dataset when the trainer is made: the base policy reads it before training.")
        self._require_stored()
        return super().evaluate(*args, **kwargs)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None

    def estimate(self, split: str = "train", **settings: Any) -> Estimate:
        """``kg_ips`` of the model as it is now, on the training rows or, with ``"eval"``, on the others.

        ``settings`` as ``kg_ips`` takes them, but for the arrays, logging and span_ids.
        """
        items = self.splits.get(split, [])
        if not items:
            raise UsageError(
                f"there are no rows of the split {split!r}; give 'train', or 'eval' with an eval_dataset."
            )
        self._require_stored()
        length = max(len(item.row.input_ids) for item in items)
        model = cast(nn.Module, self.accelerator.unwrap_model(self.model))
        arrays: list[list[np.ndarray]] = [[] for _ in range(5)]
        with torch.no_grad(), evaluating(model), self.accelerator.autocast():
            for start in range(0, len(items), self._batch_size):
                inputs = collated(items[start : start + self._batch_size])
                inputs = {name: value.to(self.args.device) for name, value in inputs.items()}
                batch = ChainBatch(
                    inputs["input_ids"], inputs["attention_mask"], inputs["step_ids"], inputs["span_ids"]
                )
                known = self._known(inputs, batch)
                tensors = (token_log_probs(model, batch), known.logp_base_BL, known.logp_kg_BL)
                padded = [nn.functional.pad(values, (0, length - values.shape[1])) for values in tensors]
                ids = (batch.step_ids_BL, batch.span_ids_BL)
                padded += [nn.functional.pad(values, (0, length - values.shape[1]), value=-1) for values in ids]
                for part, values in zip(arrays, padded, strict=True):
                    part.append(values.cpu().numpy())
        target, base, kg, steps, spans = (np.concatenate(part) for part in arrays)
        kinds = {item.row.logging for item in items}
        settings.setdefault("resampling", Resampling(seed=self.args.seed))
        return kg_ips(
            *(target, base, kg, spans >= 0, steps),
            logging=kinds.pop() if len(kinds) == 1 else "unknown",
            span_ids=None if self._kg_tokenizer is None else spans,
            **settings,
        )


def require_tokenizers(
    settings: OceanSettings, own: PreTrainedTokenizerBase, kg: PreTrainedTokenizerBase | None
) -> None:
    """UsageError where the graph's policy has another tokenizer and single tokens are to be compared."""
    if settings.entity_ratio == "span":
        if kg is None:
            raise UsageError("entity_ratio='span' needs kg_processing_class, the tokenizer of the graph's policy.")
    elif kg is not None and kg.get_vocab() != own.get_vocab():
        raise UsageError(
            "the graph's policy has another vocabulary than the model, so that their tokens can't be compared; train "
            "it on the model's own tokenizer, or set entity_ratio='span'."
        )


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Inside, nothing is dropped though the model is in train mode; after it, everything is as it was."""
    kept: list[tuple[nn.Module, str, object]] = []
    for module in model.modules():
        for name in ("p",) if isinstance(module, nn.Dropout) else ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                kept.append((module, name, getattr(module, name)))
                setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
