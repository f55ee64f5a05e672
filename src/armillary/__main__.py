"""``python -m armillary`` is the command ``armillary``."""

import sys

from armillary.cli.main import main

sys.exit(main())
