"""Questions about sounds have the right answers, and spectrograms show what is in a sound."""

import numpy as np
import pytest

from armillary.errors import UsageError
from reproductions.commit.sounds.questions import FRAMES, MELS, SOUND_TASKS, log_mel, sound_examples, spectral_centroid
from reproductions.commit.sounds.sounds import RATE, SAMPLES, SoundLabel, Sounds

TONES = {"kick": 100.0, "tom": 800.0, "hat": 4000.0}


def made() -> Sounds:
    """Of each kind four pure tones, the first two short."""
    time = np.arange(SAMPLES) / RATE
    waves, labels = [], []
    for kind, hertz in TONES.items():
        for letter, seconds in zip("abcd", (0.2, 0.74, 0.75, 3.0), strict=True):
            waves.append(np.sin(2 * np.pi * hertz * time) * (time < seconds))
            labels.append(SoundLabel(name=f"{kind}_{letter}", kind=kind, seconds=seconds))
    return Sounds(waves=np.array(waves, np.float32), labels=tuple(labels))


def test_answers() -> None:
    sounds = made()
    height = {"kick": "low", "tom": "middle", "hat": "high"}
    every = [sound_examples(sounds, task, split) for task in SOUND_TASKS for split in ("train", "validation")]
    for example in (one for examples in every for one in examples):
        label = sounds.labels[example.sound]
        right = {"kind": label.kind, "long": "short" if label.name[-1] in "ab" else "long", "high": height[label.kind]}
        assert example.answer == next(answer for word, answer in right.items() if word in example.question)
        assert example.answer in example.choices


def test_order_limit_and_split() -> None:
    sounds = made()
    first, again, other = (sound_examples(sounds, "kind", "train", seed=seed) for seed in (0, 0, 1))
    assert first == again != other and {one.sound for one in first} == set(sounds.split("train"))
    assert sound_examples(sounds, "kind", "train", limit=2) == first[:2]


@pytest.mark.parametrize(
    ("task", "limit", "words"), [("name", None, "kind, length, pitch"), ("kind", 0, "at least 1")]
)
def test_wrong_questions(task: str, limit: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sound_examples(made(), task, "train", limit=limit)  # type: ignore[arg-type]


def test_centroid_of_a_tone_and_of_silence() -> None:
    assert spectral_centroid(made().waves[3], RATE) == pytest.approx(100, abs=1)
    assert spectral_centroid(np.zeros(8, np.float32), RATE) == 0.0


def test_spectrograms() -> None:
    features = log_mel(made())
    assert features.shape == (12, MELS, FRAMES) and features.dtype == np.float32
    loudest = features[[3, 7, 11], :, FRAMES // 2].argmax(axis=1)  # of the tones that last
    assert loudest[0] < loudest[1] < loudest[2]
    assert features[0, :, -1].max() < features[0, :, 2].max()  # the short one is over
