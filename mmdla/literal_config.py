"""Reading a config out of a checkpoint or a work dir without running it."""
import ast
from typing import Iterator, Tuple


def literal_config(text: str, name: str):
    """The value of ``name = ...`` in the text of a config, made of literals and ``dict(...)``.

    mmengine stores a config with a checkpoint, and in the work dir, as Python text. To run that would
    undo the safety of loading weights only.

    Raises:
        KeyError: If the text has no such name.
        SyntaxError, TypeError, ValueError: If it is no text of this kind.
    """
    for target, value in assignments(text):
        if target == name:
            return literal(value)
    raise KeyError(name)


def whole_literal_config(text: str) -> dict:
    """All names and values of a config of which every statement is of that kind.

    Raises:
        SyntaxError, TypeError, ValueError: If one is not.
    """
    return {name: literal(value) for name, value in assignments(text, strict=True)}


def assignments(text: str, strict: bool = False) -> Iterator[Tuple[str, ast.expr]]:
    """Name and value of each ``name = value``; with ``strict``, there must be nothing else."""
    try:
        statements = ast.parse(text).body
    except (MemoryError, RecursionError) as error:
        raise ValueError('nested too deep') from error
    for statement in statements:
        if isinstance(statement, ast.Assign) and [type(t) for t in statement.targets] == [ast.Name]:
            yield statement.targets[0].id, statement.value
        elif strict:
            raise ValueError(f'line {statement.lineno} is no NAME = VALUE')


def literal(value: ast.expr):
    """The value of an expression."""
    try:
        return ast.literal_eval(DictCalls().visit(value))
    except (MemoryError, RecursionError) as error:
        raise ValueError('nested too deep') from error


class DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` and ``dict({'a': 1})`` to ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        given = node.args
        if not (isinstance(node.func, ast.Name) and node.func.id == 'dict' and len(given) < 2
                and all(isinstance(argument, ast.Dict) for argument in given)):
            return node
        return ast.Dict(
            keys=[*(key for argument in given for key in argument.keys),
                  *(keyword.arg and ast.Constant(keyword.arg) for keyword in node.keywords)],
            values=[*(value for argument in given for value in argument.values),
                    *(keyword.value for keyword in node.keywords)])
