"""The wire protocol as pure code: bytes to messages and back, without sockets, threads, clocks."""
