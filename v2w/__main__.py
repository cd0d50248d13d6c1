"""``python -m v2w`` is the command ``v2w``."""

import sys

from v2w.cli import main

sys.exit(main())
