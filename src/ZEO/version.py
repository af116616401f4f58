"""Which version of ZEO this is.

Enters: nothing but the metadata of the installation. Leaves: a text. Fails: never.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


@lru_cache(maxsize=1)
def version() -> str:
    """Return the version that is installed."""
    try:
        return installed('ZEO')
    except PackageNotFoundError:  # run from a source tree that is not installed
        return '(not installed)'
