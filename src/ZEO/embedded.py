"""A server inside a program or beside it, for tests and for trying things out: ZEO.server().

Enters: what to serve, as Python values or pieces of configuration. Leaves: the address of a
running server and a function that stops it. Fails: :class:`ConfigurationError` of one line.

A server in a process of its own runs this module. It reads what to serve from its standard
input, answers with its address on its standard output, and ends when the input does, so that it
never outlives the program that started it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ZEO.commands.signals import Signals
from ZEO.config.datatypes import bind_address
from ZEO.config.loading import load_text
from ZEO.config.server import Settings, open_server, settings
from ZEO.Exceptions import ConfigurationError, Unavailable
from ZEO.net.addresses import Address, parse


class Running(NamedTuple):
    """A running server; ``with`` gives its address, and stops it at the end."""

    address: Address
    stop: Callable[..., None]

    def __enter__(self) -> Address:
        return self.address

    def __exit__(self, *exception: object) -> None:
        self.stop()


#: Rules for every storage, or for each by its name.
Rules = Iterable[str] | Mapping[str, Iterable[str]]

#: Seconds that a server may take to end. Closing a large FileStorage writes its index.
STOP_TIMEOUT = 99.0


def run(
    path: str | None,
    blob_dir: str | None,
    storage_conf: str | None,
    zeo_conf: str | dict[str, Any] | None,
    port: Any,
    threaded: bool,
    *,
    access: Rules | None = None,
    name: str | None = None,
    start_timeout: float = 60.0,
) -> Running:
    """Start a server; arguments and returned values are those of :func:`ZEO.server`.

    :param name: the name of its thread.
    :param start_timeout: seconds that a process may take to start.
    """
    text = configuration(path, blob_dir, storage_conf, zeo_conf, access)
    where = _where(port)
    if threaded:
        return _in_a_thread(text, where, name or 'ZEO server')
    return _in_a_process(text, where, start_timeout)


def _where(port: Any) -> Address:
    if isinstance(port, int) or (isinstance(port, str) and port.isascii() and port.isdigit()):
        port = '127.0.0.1', port
    elif isinstance(port, str) and ':' in port and '/' not in port:
        port = bind_address(port)
    return parse(port)


def configuration(
    path: str | None,
    blob_dir: str | None,
    storage_conf: str | None,
    zeo_conf: str | dict[str, Any] | None,
    access: Rules | None = None,
) -> str:
    """Return a configuration file's text; arguments as of :func:`ZEO.server`."""
    # the program may change its working directory
    path, blob_dir = path and os.path.abspath(path), blob_dir and os.path.abspath(blob_dir)
    if isinstance(zeo_conf, dict):
        lines = [f'{key.replace("_", "-")} {_value(value)}' for key, value in zeo_conf.items()]
        zeo_conf = '\n'.join(lines)
    if '<zeo' not in (zeo_conf or ''):
        zeo_conf = f'<zeo>\n{zeo_conf or ""}\n</zeo>'
    if access is not None:
        before, end, after = (zeo_conf or '').rpartition('</zeo>')
        zeo_conf = f'{before}{_access(access)}\n{end}{after}'
    storage = storage_conf or _storage(path, blob_dir)
    if blob_dir and (storage_conf or not path):
        storage = f'<blobstorage>\nblob-dir {_value(blob_dir)}\n{storage}\n</blobstorage>'
    return f'{zeo_conf}\n{storage}\n'


def _access(rules: Rules) -> str:
    by_storage = rules if isinstance(rules, Mapping) else {'': rules}
    return '\n'.join(
        f'<access {name}>\n' + ''.join(f'rule {_value(rule)}\n' for rule in lines) + '</access>'
        for name, lines in by_storage.items()
    )


def _storage(path: str | None, blob_dir: str | None) -> str:
    if not path:
        return '<mappingstorage>\n</mappingstorage>'
    blobs = f'blob-dir {_value(blob_dir)}\n' if blob_dir else ''
    return f'<filestorage>\npath {_value(path)}\n{blobs}</filestorage>'


def _value(value: Any) -> str:
    """Return a value as a configuration file writes it."""
    if isinstance(value, bool):
        return 'on' if value else 'off'
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if '\n' in text:
        raise ConfigurationError(f'{text!r} does not fit on one line of a configuration')
    return text.replace('$', '$$')


def _settings(text: str, where: Address) -> Settings:
    found = settings(load_text(text, 'the configuration given to ZEO.server'))
    found.addresses = found.addresses or [where]
    return found


def _reachable(address: Address) -> Address:
    """Return where clients on this machine reach a server that listens on every network."""
    if isinstance(address, tuple) and address[0] in ('', '0.0.0.0', '::'):
        return '127.0.0.1', address[1]
    return address


def _in_a_thread(text: str, where: Address, name: str) -> Running:
    server = open_server(_settings(text, where))
    thread = threading.Thread(target=server.serve_forever, name=name, daemon=True)
    thread.start()

    def stop(stop_timeout: float = STOP_TIMEOUT) -> None:
        """Stop the server and wait for its end, for at most `stop_timeout` seconds."""
        server.stop()
        thread.join(stop_timeout)
        server.close()

    return Running(_reachable(server.addr), stop)


def _in_a_process(
    text: str,
    where: Address,
    start_timeout: float,
) -> Running:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(path or '.' for path in sys.path)}
    process = subprocess.Popen(
        [sys.executable, '-m', 'ZEO.embedded'],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def stop(stop_timeout: float = STOP_TIMEOUT) -> None:
        """Stop the server and wait for its end; kill it after `stop_timeout` seconds."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # unsent bytes are of no use, and the file is closed
            process.stdin.close()
        try:
            process.wait(stop_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    answer = _answer(process, json.dumps([text, where]).encode(), start_timeout)
    if not answer:
        stop()
        raise ConfigurationError(f'the server did not start (exit status {process.returncode})')
    address, error, status = json.loads(answer)
    if error:
        stop()
        raise (Unavailable if status == Unavailable.exit_status else ConfigurationError)(error)
    return Running(parse(address), stop)


def _answer(process: subprocess.Popen[bytes], question: bytes, patience: float) -> bytes:
    """Write a line to a process, and return the line that it answers; empty if it ends before, or
    is killed after `patience` seconds.
    """
    assert process.stdin is not None and process.stdout is not None
    watchdog = threading.Timer(patience, process.kill)
    watchdog.daemon = True  # else a signal right behind its start has the exit wait for it
    try:
        watchdog.start()
        process.stdin.write(question + b'\n')
        process.stdin.flush()
        return process.stdout.readline()
    except BrokenPipeError:
        return b''
    finally:
        watchdog.cancel()


def _child() -> None:
    """Be the server in a process of its own."""
    answer = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what a storage prints must not pass for the answer
    text, where = json.loads(sys.stdin.buffer.readline())
    signals = Signals()
    # Ctrl-C in the terminal is meant for the program, which ends this process through its input.
    handlers = {signal.SIGTERM: signals.on_stop, signal.SIGINT: lambda number, frame: None}
    with signals.installed(handlers):
        try:
            server = open_server(_settings(text, parse(where)), signals.interruptible)
        except ConfigurationError as error:
            print(json.dumps([None, str(error), error.exit_status]), file=answer, flush=True)
            return
        print(json.dumps([_reachable(server.addr), None, 0]), file=answer, flush=True)
        threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
        signals.watch(server)
        server.serve_forever()
        server.close()


def _stop_at_end_of_input(server: Any) -> None:
    # Not sys.stdin.read, which would hold that object's lock when a signal ends the process.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.stop()


if __name__ == '__main__':
    _child()
