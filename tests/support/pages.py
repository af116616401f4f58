"""Pages of the documentation, typed in as they stand.

Enters: the text of a page: a code block with a caption is a file of that name, and in a ``console``
block each line that starts with ``$`` is a command, the lines below it what it prints.  There
``...`` stands for anything, on a line of its own for any lines.  What starts with ``Listening on``
is a server, and runs until the page ends; so is a command that ends with ``&``.  Leaves: files in a
directory; servers that run.  Fails: AssertionError when a command prints something else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

from support.processes import Process, free_port
from support.sides import SOURCES

COMMANDS = {
    'python': '',
    'start.py': '-m ZEO.start',
    'runzeo': '-m ZEO.runzeo',
    'zeo': '-m ZEO',
    'repozo': '-m ZODB.scripts.repozo',
    'zodbconvert': '-m relstorage.zodbconvert',
}
BLOCK = re.compile(
    r'^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n(?P<body>(?:   .*\n|\n)+)',
    re.M,
)


class Reader:
    """Somebody who types in what a page says, in a directory of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.servers = []
        self.ports = {}
        programs = directory / '.bin'
        programs.mkdir()
        for name, arguments in COMMANDS.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            program.chmod(0o755)
        path = os.pathsep.join([str(programs), os.environ['PATH']])
        self.environ = {**os.environ, 'PATH': path, 'PYTHONPATH': str(SOURCES)}
        for name in 'ZEO_CLIENT', 'INSTANCE_HOME', 'ZEO_SERVER_PID':
            self.environ.pop(name, None)

    def here(self, text):
        """Return a text with free ports of this machine in place of 9100, 9200, …, and with the
        user that runs the tests in place of zope.
        """
        text = text.replace('unix-user zope', f'unix-user {os.getuid()}')
        return re.sub(r'\b9[1-9]00\b', lambda found: str(self.port(found[0])), text)

    def port(self, name):
        """Return the port that stands for one in the text."""
        if name not in self.ports:
            self.ports[name] = free_port()
        return self.ports[name]

    def follow(self, text):
        """Do what a page says."""
        for block in BLOCK.finditer(text):
            body = self.here(textwrap.dedent(block['body']).strip('\n') + '\n')
            caption = re.search(r':caption: (\S+)', block['options'])
            if caption:
                (self.directory / caption[1]).write_text(body)
            elif block['language'] == 'console':
                for command, output in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', body, re.M):
                    self.run(command, output)

    def run(self, command, output):
        """Run a command and compare what it prints."""
        if command.endswith(' &'):
            self.servers.append(self.start(f'exec {command[:-2]}'))
            self.servers[-1].output.wait_for('[Ss]erving storage')
            return
        process = self.start(command if '=' in command.split()[0] else f'exec {command}')
        if output.startswith('Listening on'):
            self.servers.append(process)
            printed = ''.join(f'{process.output.line().decode()}\n' for _ in output.splitlines())
        else:
            printed = process.end()[1]
        pattern = re.sub(r'(?m)^\\\.\\\.\\\.\\\n', r'(?:.*\n)*', re.escape(output))
        pattern = pattern.replace(r'\.\.\.', '.*')
        assert re.fullmatch(pattern, printed), f'$ {command}\n{printed}'

    def start(self, command):
        """Start a command of the shell."""
        return Process(
            ['/bin/sh', '-c', command],
            cwd=self.directory,
            env=self.environ,
            stderr=subprocess.STDOUT,
        )

    def leave(self):
        """End the servers that still run; return their exit codes."""
        return [server.stop() for server in self.servers]
