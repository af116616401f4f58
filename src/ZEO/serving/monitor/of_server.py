"""The metrics of a whole server, and of its process.

Enters: a server that is watched. Leaves: numbers, by functions of :data:`SERVER`. Fails: never.
"""

from __future__ import annotations

import platform

from ZEO.serving.monitor import process
from ZEO.serving.monitor.families import COUNTER, GAUGE, HISTOGRAM, INFO, Family
from ZEO.serving.monitor.health import is_ready
from ZEO.serving.monitor.watched import Watched
from ZEO.version import version


def _build(server: Watched) -> dict[tuple[str, ...], int]:
    return {(version(), platform.python_version()): 1}


def _unregistered(server: Watched) -> int:
    return server.connections - sum(len(one.peers) for one in server.storages.values())


#: In the order in which they are shown.
SERVER: tuple[Family, ...] = (
    Family(
        'zeo_build',
        INFO,
        'The versions of this server and of its Python, as labels; always 1.',
        _build,
        ('version', 'python'),
    ),
    Family(
        'zeo_ready',
        GAUGE,
        'Whether the server can serve all its storages now: 1 where /readyz answers 200.',
        lambda server: int(is_ready(server)),
    ),
    Family(
        'zeo_connections',
        GAUGE,
        'Connections of clients, registered or not.',
        lambda server: server.connections,
    ),
    Family(
        'zeo_connections_limit',
        GAUGE,
        'How many of them there may be (max-connections).',
        lambda server: server.limits.connections,
    ),
    Family(
        'zeo_unregistered_connections',
        GAUGE,
        'Connections of clients that have not registered for a storage yet.',
        _unregistered,
    ),
    Family(
        'zeo_denied',
        COUNTER,
        'What clients were denied by the rules of access: a storage, writing, or a call.',
        lambda server: dict(server.service.denied),
        'what',
    ),
    Family(
        'zeo_output_buffer_bytes',
        GAUGE,
        'Bytes that wait for clients which do not read them.',
        lambda server: server.unread,
    ),
    Family(
        'zeo_output_buffer_limit_bytes',
        GAUGE,
        'How many of them there may be (shared-output-size).',
        lambda server: server.limits.shared_output,
    ),
    Family(
        'zeo_transaction_buffer_bytes',
        GAUGE,
        'Memory of transactions before their vote, and of large messages that are arriving.',
        lambda server: server.service.intake.budget.used,
    ),
    Family(
        'zeo_transaction_buffer_limit_bytes',
        GAUGE,
        'How much of it there may be (shared-buffer-size).',
        lambda server: server.limits.shared_memory,
    ),
    Family(
        'zeo_loop_delay_seconds',
        HISTOGRAM,
        'How late the server came to what was due, measured once a second: how long a client waits '
        'until the server looks at what it has sent.',
        lambda server: server.history.delay,
    ),
    Family(
        'zeo_log_messages',
        COUNTER,
        'Warnings and errors in the log of this process.',
        lambda server: dict(server.lines.counts),
        'level',
    ),
    Family(
        'process_cpu_seconds',
        COUNTER,
        'Processor time of this process.',
        lambda server: process.cpu_seconds(),
    ),
    Family(
        'process_resident_memory_bytes',
        GAUGE,
        'Memory that this process occupies.',
        lambda server: server.loop.system.resident_memory(),
    ),
    Family(
        'process_open_fds',
        GAUGE,
        'File descriptors that are open.',
        lambda server: process.open_files(),
    ),
    Family(
        'process_max_fds',
        GAUGE,
        'How many file descriptors may be open.',
        lambda server: process.most_files(),
    ),
    Family(
        'process_start_time_seconds',
        GAUGE,
        'When the process has started, in seconds since the epoch.',
        lambda server: process.start_time(server.loop.system),
    ),
)
