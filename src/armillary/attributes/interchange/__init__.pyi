from .benchmarks import (
    read_ifbench as read_ifbench,
    read_ifeval as read_ifeval,
    read_row as read_row,
    read_ultrabench as read_ultrabench,
    ultrabench_row as ultrabench_row,
)
from .ifeval import ifeval_row as ifeval_row
from .imported import ImportedPrompt as ImportedPrompt, Instruction as Instruction, write_rows as write_rows
from .strict import strict_verdict as strict_verdict
