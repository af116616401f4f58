#!/usr/bin/env python3
"""Writes into the documentation what the code says: configuration keys, limits, the commands' help.

Enters: the schema files, the server's limits, and what commands print for --help. Leaves: the parts
of pages between ``.. generated: …`` and ``.. end of generated`` written anew. Fails: with exit
status 1 and a line for each page that would change, when it is run with --check.

Run it after a change of a schema or a command's switches, with ZEO importable.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / 'docs'
PAGES = (
    'operating/configuration.rst',
    'operating/commands.rst',
    'operating/limits.rst',
    'operating/monitoring.rst',
)

PART = re.compile(
    r'^\.\. generated: (?P<kind>section|help|table) (?P<name>\S+)\n'
    r'(?:.*\n)*?\.\. end of generated\n',
    re.M,
)

#: What the datatypes are called for people who write configuration files.
VALUES = {
    'asBoolean': '``on`` or ``off``',
    'seconds': 'time',
    'poll_interval': 'time',
    'replicas': 'number',
    'fence': 'number or true',
    'timeout_action': '``warn`` or ``refuse``',
    'log_format': '``text`` or ``json``',
    'size': 'size',
    'size_or_none': 'size',
    'SuffixMultiplier': 'size',
    'positive': 'number',
    'percentage': 'percent',
    'preference': 'word',
    'read_ahead': '``network``, ``always`` or ``off``',
    'bind_address': 'address',
    'monitor_address': 'address',
    'rule': 'rule',
    'connect_address': 'address',
    'existing_file': 'file',
    'file_or_directory': 'file or directory',
    'file_mode': 'octal digits',
    'group': 'group',
    'file_in_existing_directory': 'file',
    'existing_dirpath': 'file or directory',
    'authenticate': 'file, directory or word',
    'dotted_name': 'dotted name',
    'module_name': 'dotted name',
    'null_conversion': 'text',
    'str': 'text',
}

#: The modules of the commands.
MODULES = {
    'zeo': 'ZEO',
    'zeo-certs': 'ZEO.commands.zeo_certs',
    'zeo-bench': 'ZEO.commands.zeo_bench',
    'zeo-backup': 'ZEO.commands.zeo_backup',
    'zeo-check': 'ZEO.commands.zeo_check',
    'zeo-ping': 'ZEO.commands.zeo_ping',
    'zeo-restore': 'ZEO.commands.zeo_restore',
    'zeo-top': 'ZEO.commands.zeo_top',
    'zeo-verify': 'ZEO.commands.zeo_verify',
    'zeo-clients': 'ZEO.commands.zeo_clients',
    'zeo-completion': 'ZEO.commands.zeo_completion',
    'zeo-copy': 'ZEO.commands.zeo_copy',
    'zeo-promote': 'ZEO.commands.zeo_promote',
    'zeo-notify': 'ZEO.commands.zeo_notify',
    'zeo-kick': 'ZEO.commands.zeo_kick',
    'zeo-passwd': 'ZEO.commands.zeo_passwd',
    'start.py': 'ZEO.start',
    'runzeo': 'ZEO.runzeo',
    'zeo-nagios': 'ZEO.nagios',
    'zeo-status': 'ZEO.commands.zeo_status',
    'zeopack': 'ZEO.commands.zeopack',
    'zeo-cache': 'ZEO.commands.zeo_cache',
}


def section(name: str) -> str:
    """Return the reference of one section type."""
    import ZConfig

    from ZEO.config.loading import SCHEMA

    kind = ZConfig.loadSchema(SCHEMA).gettype(name)
    return '\n'.join([*_paragraph(kind.description or ''), '', *_keys(kind)])


def _keys(kind: Any) -> Iterator[str]:
    for key, info in kind:
        if info.issection():
            yield f'``<{info.sectiontype.name}>``'
        else:
            notes = [VALUES[_datatype(info)]]
            if info.minOccurs:
                notes.append('required')
            if info.ismulti():
                notes.append('may be repeated')
            default = None if info.ismulti() else info.getdefault()
            if default is not None and default.value:
                notes.append(f'default ``{default.value}``')
            yield f'``{key}`` ({", ".join(notes)})'
        yield from _paragraph(info.description or '', '   ')
        yield ''


def _datatype(info: Any) -> str:
    return getattr(info.datatype, '__name__', None) or type(info.datatype).__name__


def _paragraph(text: str, indent: str = '') -> list[str]:
    return textwrap.wrap(
        ' '.join(text.split()),
        100,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def help_of(name: str) -> str:
    """Return what a command prints for --help, as a block of text."""
    environ = {**os.environ, 'COLUMNS': '80', 'NO_COLOR': '1'}
    result = subprocess.run(
        [sys.executable, '-m', MODULES[name], '--help'],
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return '.. code-block:: none\n\n' + textwrap.indent(result.stdout.rstrip(), '   ')


def limits() -> str:
    """Return the table of the server's limits."""
    from ZEO.serving.limits import bounds

    lines = [
        '.. list-table::',
        '   :header-rows: 1',
        '',
        '   * - Limit',
        '     - Key of ``<zeo>``',
        '     - Default',
        '     - What happens past it',
        '     - Why this default',
    ]
    for bound in bounds():
        lines += [
            f'   * - {bound.name.replace("_", " ")}',
            f'     - ``{bound.key}``' if bound.key else '     - none',
            f'     - {amount(bound.default, bound.unit)}',
            f'     - {bound.reached}',
            f'     - {bound.reason}',
        ]
    return '\n'.join(lines)


def metrics() -> str:
    """Return the table of what a server shows to Prometheus."""
    from ZEO.serving.monitor.of_replication import REPLICATION
    from ZEO.serving.monitor.of_server import SERVER
    from ZEO.serving.monitor.of_storage import STORAGE

    lines = ['.. list-table::', '   :header-rows: 1', '   :widths: 45 15 40', '']
    lines += ['   * - Metric', '     - Kind', '     - Meaning']
    for first, families in ((), SERVER), (('storage',), (*STORAGE, *REPLICATION)):
        for family in families:
            labels = ', '.join((*first, *family.labels))
            lines += [
                f'   * - ``{family.full_name}``' + (f' ({labels})' if labels else ''),
                f'     - {family.kind}',
                f'     - {family.text}',
            ]
    return '\n'.join(lines)


def amount(value: float, unit: str) -> str:
    """Return a number with its unit; of bytes in the largest unit that divides it."""
    if unit == 'bytes':
        for size, name in (2**30, 'GB'), (2**20, 'MB'), (2**10, 'KB'):
            if value >= size and (value % size == 0 or value + 1 == 2 * size):
                return f'{(value + 1) // size if value % size else value // size} {name}'
    return f'{value:,g} {unit}'


#: What makes each table.
TABLES = {'limits': limits, 'metrics': metrics}

#: What makes the part of each kind, given the name behind the kind.
MAKERS = {'section': section, 'help': help_of, 'table': lambda name: TABLES[name]()}


def renewed(page: str) -> str:
    """Return a page's text with its generated parts as they should be."""

    def part(match: re.Match[str]) -> str:
        made = MAKERS[match['kind']](match['name'])
        return (
            f'.. generated: {match["kind"]} {match["name"]}\n\n{made.rstrip()}\n\n'
            '.. end of generated\n'
        )

    return PART.sub(part, (DOCS / page).read_text(encoding='utf-8'))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing, say what would change')
    only_checks = parser.parse_args().check
    changed = {
        page: text
        for page in PAGES
        if (text := renewed(page)) != (DOCS / page).read_text(encoding='utf-8')
    }
    for page, text in changed.items():
        if only_checks:
            print(f'docs/{page} is not what the code says: run {Path(__file__).name}')
        else:
            (DOCS / page).write_text(text, encoding='utf-8')
    return 1 if changed and only_checks else 0


if __name__ == '__main__':
    sys.exit(main())
