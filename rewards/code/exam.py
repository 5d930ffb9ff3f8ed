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
        rewrite = _Asserts(each)
        code = compile(ast.fix_missing_locations(rewrite.visit(tree)), "<test>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InfrastructureError(f"the test program does not compile: {error}") from error
    defined = any(isinstance(one, ast.FunctionDef) and one.name == "check" for one in tree.body)
    called = any(isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)
                 and getattr(one.value.func, "id", "") == "check" for one in tree.body)  # fmt: skip
    return {"program": marshal.dumps(code).hex(), "free": sorted(free), "has_check": defined and not called,
            "asserts": rewrite.count}  # fmt: skip


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


class _Asserts(ast.NodeTransformer):
    """`each`: `assert a, b` becomes `__assert__(index, lambda: a)`: every one is judged, none ends the program.

    Otherwise, and where it may hold `await`, which a lambda cannot, `__seen__()` goes before it. `count`: the judged.
    """

    def __init__(self, each: bool) -> None:
        self._each, self.count = each, 0

    def visit_Assert(self, node: ast.Assert) -> Any:
        if not self._each:
            seen = ast.Expr(ast.Call(ast.Name("__seen__", ast.Load()), [], []))
            return [ast.copy_location(seen, node), node]
        thunk = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node.test)
        call = ast.Call(ast.Name("__assert__", ast.Load()), [ast.Constant(self.count), thunk], [])
        self.count += 1
        return ast.copy_location(ast.Expr(call), node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        each, self._each = self._each, False
        self.generic_visit(node)
        self._each = each
        return node
