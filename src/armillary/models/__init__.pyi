from .adapters.switched import SwitchedModel as SwitchedModel
from .anatomy import Anatomy as Anatomy, find_anatomy as find_anatomy
from .image_text import (
    ImageTextModel as ImageTextModel,
    assemble_image_text_model as assemble_image_text_model,
    open_image_text_model as open_image_text_model,
)
from .loaded import LoadedModel as LoadedModel
from .loading import (
    adapter_base as adapter_base,
    load as load,
    located as located,
    open_adapter as open_adapter,
    open_tokenizer as open_tokenizer,
)
from .packaged import PACKAGED as PACKAGED, Packaged as Packaged, cached as cached, fetch as fetch
from .tiny_models import KINDS as KINDS, tiny as tiny
from .vision import VisionAnatomy as VisionAnatomy, find_vision_anatomy as find_vision_anatomy
