from .config import CheckupConfig as CheckupConfig
from .run import run_checkup as run_checkup
