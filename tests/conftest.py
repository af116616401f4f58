"""Puts the tests' helpers on the path, and has Hypothesis judge what the code does, not how fast
the machine is.
"""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile('zeo', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('zeo')
