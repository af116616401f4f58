"""The client cache: revisions kept at the client, so that most loads never leave the process.

`ClientCache` keeps them in a file that survives the process, `MemoryCache` in memory only. Both
have the same interface, and ClientStorage takes any object that has it.
"""

from ZEO.cache.client_cache import ClientCache
from ZEO.cache.memory_cache import MemoryCache

__all__ = ['ClientCache', 'MemoryCache']
