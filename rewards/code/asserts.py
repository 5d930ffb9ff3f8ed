"""Turn `assert f(literals) == literal` into calls, so that expected values stay out of the submission's process."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from rewards.code.types import AssertTests, CallTests


@dataclass
class _Found:
    inputs: list[list[Any]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    tolerances: list[float] = field(default_factory=list)


def as_calls(tests: AssertTests) -> tuple[CallTests | None, bool]:
    """The asserts that can be calls (None without any), and whether they are the whole test program."""
    try:
        program = ast.parse(tests.test)
    except (SyntaxError, ValueError, RecursionError):
        return None, False
    name = tests.entry_point
    statements: list[tuple[str, ast.stmt]] = []
    for statement in program.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "check" and len(statement.args.args) == 1:
            statements += [(statement.args.args[0].arg, inner) for inner in statement.body]
        elif not _is_check_call(statement):
            statements.append((name, statement))
    found = _Found()
    whole = bool(name)
    for called, statement in statements:
        if isinstance(statement, ast.Assert) and _convert(statement.test, {called, name} - {""}, found):
            continue
        whole = whole and _is_inert(statement)
    if not name or not found.inputs:
        return None, False
    return CallTests(name, found.inputs, found.outputs, found.tolerances), whole


def _is_check_call(statement: ast.stmt) -> bool:
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            and isinstance(statement.value.func, ast.Name) and statement.value.func.id == "check")  # fmt: skip


def _is_inert(statement: ast.stmt) -> bool:
    """Doc strings, METADATA = {...}, `pass`, `assert True`: nothing about the candidate."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return _literal(statement.value) is not _NONE
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and bool(statement.test.value)
    return isinstance(statement, ast.Pass)


def _convert(test: ast.expr, names: set[str], found: _Found) -> bool:
    """Add one assert; False where it has another shape."""
    expected: Any = True
    tolerance = 0.0
    call: ast.expr = test
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return False  # any falsy value would do, and there are many
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        if isinstance(test.ops[0], (ast.Lt, ast.LtE)):
            return _convert_close(left, right, names, found)
        if not isinstance(test.ops[0], (ast.Eq, ast.Is)):
            return False
        call, value = (left, right) if _arguments(left, names) is not None else (right, left)
        expected = _literal(value)
    elif isinstance(test, ast.Call):
        return False  # truthy is more than True
    arguments = _arguments(call, names)
    if arguments is None or expected is _NONE:
        return False
    found.inputs.append(arguments)
    found.outputs.append(expected)
    found.tolerances.append(tolerance)
    return True


def _convert_close(left: ast.expr, right: ast.expr, names: set[str], found: _Found) -> bool:
    """`abs(f(x) - 0.33) < 1e-6`."""
    bound = _literal(right)
    if not (isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.func.id == "abs" and left.args):
        return False
    difference = left.args[0]
    if not isinstance(bound, float) or bound <= 0 or not isinstance(difference, ast.BinOp):
        return False
    if not isinstance(difference.op, ast.Sub):
        return False
    for call, value in ((difference.left, difference.right), (difference.right, difference.left)):
        arguments, expected = _arguments(call, names), _literal(value)
        if arguments is not None and isinstance(expected, (int, float)):
            found.inputs.append(arguments)
            found.outputs.append(expected)
            found.tolerances.append(bound)
            return True
    return False


class _None:
    """Not a literal."""


_NONE = _None()


def _literal(node: ast.expr) -> Any:
    """The value of a literal (also `[1] * 3`, `-(2)`, `"a" + "b"` of literals, within reason)."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        pass
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add, ast.Sub, ast.Div)):
        left, right = _literal(node.left), _literal(node.right)
        if left is not _NONE and right is not _NONE:
            return _operate(node.op, left, right)
    return _NONE


def _operate(operator: ast.operator, left: Any, right: Any) -> Any:
    sizes = [value if isinstance(value, int) else len(value) for value in (left, right) if hasattr(value, "__len__")
             or isinstance(value, int)]  # fmt: skip
    if any(size > 10_000 for size in sizes):
        return _NONE
    try:
        if isinstance(operator, ast.Mult):
            return left * right
        if isinstance(operator, ast.Add):
            return left + right
        return left - right if isinstance(operator, ast.Sub) else left / right
    except (TypeError, ZeroDivisionError, OverflowError):
        return _NONE


def _arguments(node: ast.expr, names: set[str]) -> list[Any] | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names):
        return None
    if node.keywords:
        return None
    arguments = [_literal(argument) for argument in node.args]
    return None if any(argument is _NONE for argument in arguments) else arguments
