"""Test programs made ready for the examiner, on the grader's side: compiled once for many submissions."""

from __future__ import annotations

import ast
import builtins
import functools
import marshal
import symtable
from typing import Any

from rewards.code.types import AssertTests, InfrastructureError


def made_ready(tests: AssertTests, *, each: bool) -> dict[str, Any]:
    """What the examiner needs of a test program. `each`: every assert is judged, none ends the program.

    Raises:
        InfrastructureError: the program does not compile, which no submission is to blame for.
    """
    return {"mode": "examine", "entry_point": tests.entry_point, **_compiled(tests.test, each)}


@functools.lru_cache(maxsize=256)
def _compiled(test: str, each: bool) -> dict[str, Any]:
    try:
        tree = ast.parse(test)
        free = free_names(test)
        code = compile(_each_assert(tree) if each else tree, "<test>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InfrastructureError(f"the test program does not compile: {error}") from error
    defined = any(isinstance(one, ast.FunctionDef) and one.name == "check" for one in tree.body)
    called = any(isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)
                 and getattr(one.value.func, "id", "") == "check" for one in tree.body)  # fmt: skip
    return {"program": marshal.dumps(code).hex(), "free": sorted(free), "has_check": defined and not called}


def free_names(source: str) -> set[str]:
    """Names that a program takes from elsewhere: not its own and not built in."""
    top = symtable.symtable(source, "<test>", "exec")
    own = {one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()}
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {one.get_name() for one in table.get_symbols() if one.is_global() and one.is_referenced()}
        own |= {one.get_name() for one in table.get_symbols() if one.is_declared_global() and one.is_assigned()}
    return used - own - set(dir(builtins))


def _each_assert(tree: ast.Module) -> ast.Module:
    """`assert a, b` becomes `__assert__(index, lambda: a)`: every one is judged, none ends the program."""
    count = 0

    class Rewrite(ast.NodeTransformer):
        def visit_Assert(self, node: ast.Assert) -> ast.AST:
            nonlocal count
            index, count = count, count + 1
            thunk = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node.test)
            call = ast.Call(ast.Name("__assert__", ast.Load()), [ast.Constant(index), thunk], [])
            return ast.copy_location(ast.Expr(call), node)

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
            return node  # its asserts may hold `await`, which a lambda cannot

    rewritten: ast.Module = Rewrite().visit(tree)
    return ast.fix_missing_locations(rewritten)
