from .arrow import arrow_prototypes as arrow_prototypes, arrow_retrieve as arrow_retrieve, arrow_scores as arrow_scores
from .brick_library import (
    BrickLibrary as BrickLibrary,
    EncoderName as EncoderName,
    EntryBase as EntryBase,
    LibraryEntry as LibraryEntry,
    LibraryIndex as LibraryIndex,
)
from .folder import BrickCard as BrickCard, read_brick as read_brick, write_brick as write_brick
from .mounting import Mount as Mount, check_base as check_base, mounted as mounted
from .peft import (
    brick_from_adapter as brick_from_adapter,
    read_adapter as read_adapter,
    write_adapter as write_adapter,
)
from .retrieval import (
    MidLayerEncoder as MidLayerEncoder,
    Retrieval as Retrieval,
    RetrievedBrick as RetrievedBrick,
    make_keys as make_keys,
    retrieve as retrieve,
)
