from .cards import CARDS as CARDS, MethodCard as MethodCard
from .errors import ArmillaryError as ArmillaryError
from .methods.bricks import Brick as Brick
from .methods.icn import Navigator as Navigator
from .methods.lincorr import LinCorrConfig as LinCorrConfig, lincorr as lincorr
from .models import LoadedModel as LoadedModel, load as load, tiny as tiny
from .records import RunRecord as RunRecord

__version__: str
