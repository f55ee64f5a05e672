from .cards import CARDS as CARDS, MethodCard as MethodCard
from .diff.call import diff as diff
from .errors import ArmillaryError as ArmillaryError
from .methods.bricks import Brick as Brick
from .methods.commit import CoMMITTrainer as CoMMITTrainer
from .methods.icn import Navigator as Navigator
from .methods.lincorr import LinCorrConfig as LinCorrConfig, lincorr as lincorr
from .methods.mdgd import MDGDTrainer as MDGDTrainer
from .methods.modeldiff import compare as compare
from .methods.vector_icl import VectorICLClassifier as VectorICLClassifier
from .models import LoadedModel as LoadedModel, load as load, tiny as tiny
from .records import RunRecord as RunRecord

__version__: str
