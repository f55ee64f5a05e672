"""Tune a tiny image-text model with and without MDGD, and see how far its image states drift.

    python examples/mdgd.py

Everything is random and made in a second: no download. For real models see `armillary train mdgd`.
"""

import copy
import tempfile

from armillary.methods.mdgd import MDGDConfig, MDGDTrainer, VisualRankCallback
from armillary.models.tiny_vision_models import tiny_vision


def main() -> None:
    """Print drift and effective rank of the image states, mean over layers, for each preset."""
    tiny = tiny_vision("llava")
    batch = tiny.batch(8)
    rows = [{name: value[i] for name, value in batch.items()} for i in range(8)]
    arms = {
        "fine-tuning": {"projection": "none", "visual_align_weight": 0.0},
        "MDGD": {"preset": "paper"},
        "task gradient through text alone": {"preset": "recommended"},
    }
    for name, settings in arms.items():
        watch = VisualRankCallback([batch], every=10)
        with tempfile.TemporaryDirectory() as folder:
            arguments = MDGDConfig(
                output_dir=folder,
                max_steps=20,
                per_device_train_batch_size=8,
                learning_rate=5e-3,
                save_strategy="no",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
                **settings,
            )
            trainer = MDGDTrainer(
                model=copy.deepcopy(tiny.model), args=arguments, train_dataset=rows, callbacks=[watch]
            )
            trainer.train()
        first, last = watch.history[0][1], watch.history[-1][1]
        drift = sum(reading.drift or 0.0 for reading in last) / len(last)
        rank = [sum(reading.dataset_centred for reading in readings) / len(readings) for readings in (first, last)]
        print(f"{name}: drift {drift:.3f}, effective rank {rank[0]:.2f} before and {rank[1]:.2f} after")


if __name__ == "__main__":
    main()
