"""Where the labelled sounds come from: one pinned package, its licence, and which of its files are of which kind."""

from armillary.data.npm_download import NpmPackage
from armillary.data.sources import Source

PACKAGE = NpmPackage(
    name="supersonic-scsynth-samples",
    version="0.84.2",
    sha256="aff0b03208adb5dc7612dc7a4e86d55161188326bcff4dbc2d20ce9e1b94238c",
)
SOURCE = Source(
    name="Sonic Pi's samples, most of them from freesound.org",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="CC0-1.0",
    url="https://github.com/samaaron/supersonic",
)
FOLDER, ENDING = "package/samples/", ".flac"
DOWNLOAD_MB = 34

RATE = 16_000
"""Samples a second that are kept."""

SAMPLES = RATE
"""Of one sound: its first second, with silence behind a shorter one."""

KINDS: tuple[tuple[str, str], ...] = (
    ("loop", r"^(loop|arovane_beat|tbd_fxbed)"),
    ("tabla", r"^tabla_"),
    ("kick", r"^bd_|_kick$|^drum_bass"),
    ("snare", r"^sn_|snare$|^drum_snare"),
    ("hat", r"^hat_|_hat$"),
    ("cymbal", r"cymbal|splash|^ride_"),
    ("tom", r"_tom(_|$)"),
    ("bass", r"^bass_"),
    ("ambience", r"^(ambi|tbd_pad)_"),
    ("electric", r"^elec_"),
)
"""Kind and what is searched in a file's name; the first that is found holds, and files of no kind are left out.

The names are the package's, their grouping under these words is ours: kinds of at least seven sounds.
"""
