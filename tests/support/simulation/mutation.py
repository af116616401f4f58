"""One mistake that is put into the code, and how that is done.

Enters: a mutation. Leaves: the module's source with one piece replaced, when it is imported. Fails:
ValueError when the source does not have that piece exactly once any more: then the mutation has to
follow the code.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ZEO.version


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    :param what: for the documentation.
    :param module: below the package ZEO.
    :param old: the piece of its source, which is there once.
    :param new: what takes its place.
    :param elsewhere: the test that finds it, where the simulator takes too many histories.
    :param having: what plans have that are run, one of ``plan.KINDS``; empty: all are.
    """

    name: str
    what: str
    module: str
    old: str
    new: str
    elsewhere: str = ''
    having: str = ''

    @property
    def path(self) -> Path:
        return Path(ZEO.version.__file__).parent / (self.module.replace('.', '/') + '.py')

    def applied(self) -> str:
        """Return the source with the mistake.

        :raises ValueError: when it can't be put there.
        """
        source = self.path.read_text()
        if source.count(self.old) != 1:
            raise ValueError(
                f'{self.path} has {source.count(self.old)} times what the mutation {self.name} '
                f'replaces: {self.old!r}'
            )
        return source.replace(self.old, self.new)


class _Finder:
    """Imports one module with a mistake in it."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation
        self._source = mutation.applied()

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != f'ZEO.{self._mutation.module}':
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self._mutation.path))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(self._mutation.path)
        exec(compile(self._source, f'<{self._mutation.name}>', 'exec'), vars(module))


def install(mutation: Mutation) -> None:
    """Have the module of a mutation imported with its mistake, in this process.

    :raises RuntimeError: when it was imported already.
    """
    if f'ZEO.{mutation.module}' in sys.modules:
        raise RuntimeError(f'ZEO.{mutation.module} was imported already')
    sys.meta_path.insert(0, _Finder(mutation))  # type: ignore[arg-type]
