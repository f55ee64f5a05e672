from .answers import is_right as is_right, right_answers as right_answers
from .chat import ChatReader as ChatReader, verbalise_by_chat as verbalise_by_chat
from .reward import Reader as Reader, consistency as consistency
from .training import PolicyConfig as PolicyConfig, TrainedPolicy as TrainedPolicy, train_kg_policy as train_kg_policy
from .verbalising import (
    Templates as Templates,
    VerbalisedPath as VerbalisedPath,
    sample_paths as sample_paths,
    verbalise as verbalise,
)
