"""Lets another simulated thread go on before any statement, as real threads may at any bytecode.

Enters: modules of the product. Leaves: their functions, with a call before each statement; a
function that puts the original code back. Fails: never; a function whose source is not at hand, as
those that :mod:`dataclasses` makes, stays as it is.

The code objects of functions are replaced, so it does not matter who has imported them. A statement
is still one step: what happens in the middle of ``self.count += 1`` is not explored.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

#: The name by which the functions call what may switch threads.
_NAME = '__simulated_switch__'

#: Packages and modules in which threads meet.
_PREFIXES = (
    'ZEO.link.',
    'ZEO.cache.',
    'ZEO.ClientStorage',
    'ZEO.locks',
    'ZEO.net.locks',
    'ZEO.net.loop',
    'ZEO.net.stream',
    'ZEO.serving.later',
    'ZEO.serving.workers',
)


def install(switch: Callable[[], None]) -> Callable[[], None]:
    """Have `switch` called before each statement; return what puts everything back."""
    functions = _instrumented()
    modules = {function.__module__ for function, _, _ in functions}
    for name in modules:
        setattr(sys.modules[name], _NAME, switch)
    for function, _, code in functions:
        function.__code__ = code

    def restore() -> None:
        for function, original, _ in functions:
            function.__code__ = original
        for name in modules:
            delattr(sys.modules[name], _NAME)

    return restore


@lru_cache(None)
def _instrumented() -> tuple[tuple[FunctionType, CodeType, CodeType], ...]:
    """Return the functions of all modules where threads meet, with their two kinds of code."""
    return tuple(
        found
        for name, module in sorted(sys.modules.items())
        if name.startswith(_PREFIXES)
        for found in _of_module(module)
    )


def _of_module(module: ModuleType) -> Iterator[tuple[FunctionType, CodeType, CodeType]]:
    tree = _Instrumented().visit(ast.parse(inspect.getsource(module)))
    path = inspect.getsourcefile(module) or ''
    compiled = compile(ast.fix_missing_locations(tree), path, 'exec')
    codes = {_place(code): code for code in _all_codes(compiled)}
    for function in _functions(vars(module).values(), module.__name__):
        code = codes.get(_place(function.__code__))
        if code is not None and code.co_freevars == function.__code__.co_freevars:
            yield function, function.__code__, code


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_name, code.co_firstlineno


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_codes(constant)


def _functions(values: Iterable[Any], module: str) -> Iterator[FunctionType]:
    """Return the functions and methods that are defined in a module."""
    for value in values:
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            yield from _functions(filter(None, (value.fget, value.fset)), module)
        elif isinstance(value, type) and value.__module__ == module:
            yield from _functions(list(vars(value).values()), module)
        elif isinstance(value, FunctionType) and value.__module__ == module:
            yield inspect.unwrap(value)  # type: ignore[misc]


class _Instrumented(ast.NodeTransformer):
    """Puts a call before each statement of functions."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        has_text = ast.get_docstring(node, clean=False) is not None
        text, statements = node.body[:has_text], node.body[has_text:]
        node.body = text + self._with_calls(statements)
        return node

    def _with_calls(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for statement in statements:
            if not isinstance(statement, (ast.Global, ast.Nonlocal)):
                call = ast.Expr(ast.Call(ast.Name(_NAME, ast.Load()), [], []))
                found.append(ast.copy_location(call, statement))
            found.append(self._within(statement))
        return found

    def _within(self, statement: ast.stmt) -> ast.stmt:
        if isinstance(statement, ast.FunctionDef):
            return self.visit_FunctionDef(statement)
        for name in ('body', 'orelse', 'finalbody'):
            inner = getattr(statement, name, None)
            if inner:
                setattr(statement, name, self._with_calls(inner))
        for handler in getattr(statement, 'handlers', ()):
            handler.body = self._with_calls(handler.body)
        return statement
