"""The laboratory of eviction policies: models of what a cache keeps, and accesses to try them on.

``cache_policies.py`` compares the models, ``cache_hit_rates.py`` measures real caches.
"""
