"""Puts this folder on the path: recording processes import `toy_envs` by name, as they would a module of a user."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
