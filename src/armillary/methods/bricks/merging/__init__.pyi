from .adapters import Merged as Merged, MergeReport as MergeReport, merge as merge
from .config import Method as Method
from .models import StateMerge as StateMerge, merge_models as merge_models
from .rules import MergeRule as MergeRule, mergekit_recipe as mergekit_recipe
