from .environment import machine as machine, versions as versions
from .folder import RunFolder as RunFolder
from .parts import Parts as Parts
