"""The wire protocol as pure code: bytes in, messages out, and back; no socket, no thread, no clock,
no log.
"""
