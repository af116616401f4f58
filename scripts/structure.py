#!/usr/bin/env python3
"""Print figures of the structure of the code: how long, how many, and what imports what in circles.

    python scripts/structure.py                 this checkout
    python scripts/structure.py DIR [DIR ...]   other checkouts before it, a column each

Enters: checkouts with src/ZEO, tests and scripts. Leaves: a table on standard output. Fails:
SyntaxError for a file that is not Python; a figure that needs a missing ruff is shown as "no ruff".
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef

#: A name with one leading underscore that is reached through something else than self or cls.
#: persistent's _p_ names, os._exit and ZODB._compat are other packages' interfaces.
POKE = re.compile(
    r'(?<![\w.])(?!self\b|cls\b)\w+(?:\.\w+|\[[^]]*\])*\._(?!p_|exit\b|compat\b)[a-z]\w*'
)

#: The names that a load, an invalidation and a commit go by: a module that defines or calls one
#: takes part.
FLOWS = {
    'load': {'loadBefore', 'load_before', 'loaded'},
    'invalidation': {'invalidateTransaction', 'invalidate', 'committed'},
    'commit': {'tpc_begin', 'tpc_vote', 'tpc_finish', 'tpc_abort', 'vote', 'finish'},
}


class Checkout:
    """The files of one checkout; those of the package parsed."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.package = top / 'src' / 'ZEO'
        self.text = {
            part: {path: path.read_text('utf-8') for path in sorted((top / part).rglob('*.py'))}
            for part in ('src/ZEO', 'tests', 'scripts')
        }
        self.source = {path: ast.parse(text) for path, text in self.text['src/ZEO'].items()}

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
        """Yield the nodes of these kinds, each after the name of its file."""
        for path, tree in self.source.items():
            for node in ast.walk(tree):
                if isinstance(node, kinds):
                    yield path.relative_to(self.package).as_posix(), node

    def functions(self) -> list[tuple[str, Function]]:
        """Return all functions and methods."""
        return list(self.nodes(ast.FunctionDef, ast.AsyncFunctionDef))  # type: ignore[arg-type]

    def classes(self) -> list[tuple[int, str, str]]:
        """Return the number of methods of each class, its file and its name, the largest first."""
        found = [
            (sum(isinstance(item, Function) for item in node.body), path, node.name)
            for path, node in self.nodes(ast.ClassDef)  # type: ignore[attr-defined]
        ]
        return sorted(found, key=lambda item: -item[0])

    def lengths(self) -> list[tuple[int, str]]:
        """Return the number of lines of each file of the package, and its name."""
        return [
            (len(text.splitlines()), path.relative_to(self.package).as_posix())
            for path, text in self.text['src/ZEO'].items()
        ]


def length(node: Function) -> int:
    """Return the lines of a function, its docstring left out."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0  # type: ignore
    return node.end_lineno - node.lineno + 1 - docstring  # type: ignore[operator]


def arguments(node: Function) -> int:
    """Return the number of arguments of a function; self and the collecting ones left out."""
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ('self', 'cls')])


def longest_function(code: Checkout) -> str:
    size, path, name = max((length(node), path, node.name) for path, node in code.functions())
    return f'{size} ({path}: {name})'


def longest_file(code: Checkout) -> str:
    return '{} ({})'.format(*max(code.lengths()))


def largest_class(code: Checkout) -> str:
    return ', '.join(f'{size} ({path}: {name})' for size, path, name in code.classes()[:2])


def long_functions(code: Checkout) -> str:
    return str(sum(length(node) > 40 for _, node in code.functions()))


def long_files(code: Checkout) -> str:
    return str(sum(size > 350 for size, _ in code.lengths()))


def many_methods(code: Checkout) -> str:
    return str(sum(size >= 25 for size, _, _ in code.classes()))


def many_arguments(code: Checkout) -> str:
    return str(sum(arguments(node) > 6 for _, node in code.functions()))


def circles(code: Checkout) -> str:
    """Count the modules that import each other, at any distance."""
    names = {}
    for path in code.source:
        parts = path.relative_to(code.package.parent).with_suffix('').parts
        names['.'.join(parts).removesuffix('.__init__')] = path
    imports = {name: imported(code.source[path], names) - {name} for name, path in names.items()}
    return str(sum(name in reached(name, imports) for name in imports))


def imported(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Return the modules of the package that a module imports when it is imported itself."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & set(known)


def reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    """Return the modules that `start` imports, and those that they import, and so on."""
    seen: set[str] = set()
    waiting = list(imports[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports[name]
    return seen


def unformatted(code: Checkout) -> str:
    """Count the files that the formatter would change."""
    ruff = shutil.which('ruff') or shutil.which(HERE / '.lint-env' / 'bin' / 'ruff')
    if ruff is None:
        return 'no ruff'
    command = [ruff, 'format', '--check', 'src', 'tests', 'scripts']
    result = subprocess.run(command, cwd=code.top, capture_output=True, text=True)
    found = re.search(r'(\d+) files? would be reformatted', result.stdout + result.stderr)
    return found[1] if found else '0'


def wide_lines(code: Checkout) -> str:
    """Count the lines of the package over 100 columns."""
    texts = code.text['src/ZEO'].values()
    return str(sum(len(line) > 100 for text in texts for line in text.splitlines()))


def pokes(code: Checkout) -> str:
    """Count how often tests reach for a private name."""
    texts = code.text['tests'].values()
    return str(sum(len(POKE.findall(line)) for text in texts for line in text.splitlines()))


def flow(name: str) -> Callable[[Checkout], str]:
    """Return a figure: how many modules define or call something of a flow."""

    def modules(code: Checkout) -> str:
        taking_part = (
            any(name_of(node) in FLOWS[name] for node in ast.walk(tree))
            for tree in code.source.values()
        )
        return str(sum(taking_part))

    return modules


def name_of(node: ast.AST) -> str | None:
    """Return the name that a node defines or reaches for."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return getattr(node, 'name', None)


def lines(code: Checkout) -> str:
    totals = [sum(len(text.splitlines()) for text in part.values()) for part in code.text.values()]
    return ' / '.join(f'{total:,}' for total in totals)


FIGURES: dict[str, Callable[[Checkout], str]] = {
    'lines of src / tests / scripts': lines,
    'longest function': longest_function,
    'functions over 40 lines': long_functions,
    'longest file': longest_file,
    'files over 350 lines': long_files,
    'classes with most methods': largest_class,
    'classes with 25 methods or more': many_methods,
    'functions with more than 6 arguments': many_arguments,
    'modules in import circles': circles,
    'files that the formatter would change': unformatted,
    'lines over 100 columns': wide_lines,
    'private names reached for in tests': pokes,
    'modules that take part in a load': flow('load'),
    'modules that take part in an invalidation': flow('invalidation'),
    'modules that take part in a commit': flow('commit'),
}


def main() -> None:
    """Print the table of the checkouts that are named, and of this one."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
    parser.add_argument('others', metavar='DIR', nargs='*', help='another checkout, a column each')
    others = [Path(name).resolve() for name in parser.parse_args().others]
    for other in others:
        if not (other / 'src' / 'ZEO').is_dir():
            parser.error(f'{other} is not a checkout: it has no src/ZEO')
    checkouts = [*map(Checkout, others), Checkout(HERE)]
    for title, figure in FIGURES.items():
        print(f'{title:42}', '  |  '.join(figure(code) for code in checkouts))


if __name__ == '__main__':
    main()
