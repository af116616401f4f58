"""Configuration: ZConfig's schemas, their sections, and what servers and clients make of them.

The schemas are ``component.xml`` (of the package ``ZEO``: what ``%import ZEO`` brings),
``config/zeo.xml`` (the ``<zeo>`` section), ``config/runzeo.xml`` (a server's file) and
``zeoctl.xml`` (the same file as zdaemon reads it).
"""
