"""Log-mel spectrograms of short sounds, as Whisper's encoder and its kin read them.

Shapes: N sounds, T samples, M mel bands, F frames.
"""

import numpy as np
from jaxtyping import Float32

from armillary.data.sounds import Sounds

MELS, FRAMES = 40, 64


def log_mel(sounds: Sounds) -> Float32[np.ndarray, "N M F"]:
    """Of each sound's first second, by the feature extractor of Whisper at 250 samples a frame of 16 kHz."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(
        feature_size=MELS,
        sampling_rate=sounds.rate,
        hop_length=sounds.rate // FRAMES,
        n_fft=2 * (sounds.rate // FRAMES),
        chunk_length=1,
    )
    made = extractor(list(sounds.waves), sampling_rate=sounds.rate, return_tensors="np")
    features: Float32[np.ndarray, "N M F"] = made["input_features"]
    return features
