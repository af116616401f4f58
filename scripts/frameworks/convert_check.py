"""RelStorage's zodbconvert through a ZEO server and back, and ZODB's own scripts on the result.

Enters: the run.  Leaves: PASS and FAIL lines.  Fails: as the commands do.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from environments import run as run_command
from processes import Processes, configuration, free_ports

FILE = """\
<filestorage {role}>
  path {directory}/{name}.fs
  blob-dir {directory}/{name}-blobs
</filestorage>
"""
ZEO = """\
<zeoclient {role}>
  server 127.0.0.1:{port}
  blob-dir {directory}/client-blobs-{role}
</zeoclient>
"""
DATA = Path(__file__).with_name('convert_data.py')


def check_relstorage(run: Any) -> None:
    """Copy a FileStorage with blobs into the server with zodbconvert, and back into another
    FileStorage.
    """
    run.report.section(f'zodbconvert, {run.sides}')
    with run.report.guard():
        convert = run.python('relstorage', run.client).parent / 'zodbconvert'
        directory = _made(run, 'zodbconvert')
        (port,) = free_ports(1)
        with Processes(directory) as processes:
            _serve(run, processes, port)
            for source, destination in ((FILE, ZEO), (ZEO, FILE)):
                name = 'there' if source is FILE else 'back'
                conf = directory / f'{name}.conf'
                conf.write_text(
                    source.format(role='source', name='original', port=port, directory=directory)
                    + destination.format(
                        role='destination', name='returned', port=port, directory=directory
                    )
                )
                said = run_command([convert, conf], cwd=directory)
                run.report.say(
                    f'zodbconvert {conf.name}: '
                    f'{said.strip().splitlines()[-1][-150:] if said.strip() else "done"}'
                )
        if run.client == 'peer':
            run.report.say(
                'blobs are left out of the comparison: with ZEO 6 as the client, zodbconvert '
                'leaves them behind'
            )
        original = _shown(run, directory, 'original')
        run.report.check(
            "the server's storage equals the original", _shown(run, directory, 'served') == original
        )
        blobs = ' and blobs' if run.client == 'ours' else ''
        run.report.check(
            f'what came back equals the original: {len(original)} transactions, with users, '
            'descriptions, '
            f'extensions, records{blobs}',
            _shown(run, directory, 'returned') == original,
        )
        _check_scripts(run, directory, 'returned')


def check_tools(run: Any) -> None:
    """Run ZODB's scripts on what clients have written through the server, while it runs and after
    it.
    """
    run.report.section(f"ZODB's scripts, {run.sides}")
    with run.report.guard():
        directory = _made(run, 'tools')
        python = run.python('relstorage', run.client)
        (port,) = free_ports(1)
        with Processes(directory) as processes:
            _serve(run, processes, port)
            program = (
                'import sys, ZEO, transaction\n'
                'c = ZEO.connection(("127.0.0.1", int(sys.argv[1])), wait_timeout=30)\n'
                'for n in range(int(sys.argv[2])):\n'
                '    c.root()[n] = c.root().__class__({n: "x" * n}); transaction.commit()\n'
                'c.close()\n'
            )
            run_command([python, '-c', program, port, 40])
            _backup(run, directory, '-F')
            # repozo names its files by the second, and two backups in one get in each other's way
            time.sleep(1.1)
            run_command([python, '-c', program, port, 20])
            _backup(run, directory)
            run.report.say(
                '40 transactions, a full backup, 20 more, an incremental one, with the server '
                'running'
            )
        run_command(
            [
                python,
                '-m',
                'ZODB.scripts.repozo',
                '-R',
                '-r',
                directory / 'backup',
                '-o',
                directory / 'restored.fs',
            ]
        )
        same = (directory / 'restored.fs').read_bytes() == (directory / 'served.fs').read_bytes()
        run.report.check('repozo restores just what the server had', same)
        for name in ('served', 'restored'):
            _check_scripts(run, directory, name)


def _serve(run: Any, processes: Processes, port: int) -> None:
    conf = configuration(port, processes.directory, 'served')
    processes.serve(run.python('relstorage', run.server), conf, ('127.0.0.1', port))


def _made(run: Any, name: str) -> Path:
    directory = run.scratch / name
    (directory / 'backup').mkdir(parents=True)
    python = run.python('relstorage', run.client)
    run_command([python, DATA, 'make', directory / 'original.fs', directory / 'original-blobs'])
    return directory


def _shown(run: Any, directory: Path, name: str) -> list[str]:
    python = run.python('relstorage', run.client)
    command = 'show-without-blobs' if run.client == 'peer' else 'show'
    return run_command(
        [python, DATA, command, directory / f'{name}.fs', directory / f'{name}-blobs']
    ).splitlines()


def _backup(run: Any, directory: Path, *switches: str) -> None:
    python = run.python('relstorage', run.client)
    run_command(
        [
            python,
            '-m',
            'ZODB.scripts.repozo',
            '-B',
            '-r',
            directory / 'backup',
            '-f',
            directory / 'served.fs',
            *switches,
        ]
    )


def _check_scripts(run: Any, directory: Path, name: str) -> None:
    python = run.python('relstorage', run.client)
    path = directory / f'{name}.fs'
    for script in ('fstest', 'fsrefs'):
        said = run_command([python, '-m', f'ZODB.scripts.{script}', path]).strip()
        run.report.check(f'{script} {path.name} finds nothing wrong', not said, said[:500])
