"""Train a tiny image-text model whose encoder learns a hundred times too slowly, with and without CoMMIT.

    python examples/commit.py

Everything is random and made in a second: no download. For real models see `armillary train commit`.
"""

import copy
import tempfile
from typing import Any

from transformers import TrainingArguments

from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from armillary.models.tiny_vision_models import tiny_vision

RATES = {"feature_encoder": 1e-5, "llm": 1e-3}


def main() -> None:
    """Print log kappa, first and last, the encoder's last multiplier and the last loss, for each gain."""
    tiny = tiny_vision("llava")
    batch = tiny.batch(8)
    rows: list[dict[str, Any]] = [{name: value[i] for name, value in batch.items()} for i in range(8)]
    for name, gamma in {"rates left alone": 0.0, "CoMMIT": 0.25}.items():
        with tempfile.TemporaryDirectory() as folder:
            trainer = CoMMITTrainer(
                model=copy.deepcopy(tiny.model),
                args=TrainingArguments(
                    output_dir=folder,
                    max_steps=40,
                    per_device_train_batch_size=8,
                    logging_steps=40,
                    save_strategy="no",
                    disable_tqdm=True,
                    dataloader_pin_memory=False,
                ),
                train_dataset=rows,
                learning_rates=RATES,
                commit=CoMMITConfig(gamma=gamma, interval=5),
            )
            loss = trainer.train().training_loss
        controller = trainer.commit_callback.controller
        assert controller is not None
        kappas, encoder = controller.log_kappas, controller.multipliers["feature_encoder"]
        print(f"{name}: log kappa {kappas[0]:+.1f} to {kappas[-1]:+.1f}")
        print(f"  encoder's rate times {encoder:.1f} at the end, mean loss {loss:.3f}")


if __name__ == "__main__":
    main()
