"""Reading a config out of a checkpoint without running it."""
import ast


def literal_config(text: str, name: str):
    """The value of ``name = ...`` in the text of a config, made of literals and ``dict(...)``.

    mmengine stores a config with a checkpoint as Python text. To run that would undo the safety of
    loading weights only.

    Raises:
        KeyError: If the text has no such name.
        SyntaxError, TypeError, ValueError: If it is no text of this kind.
    """
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(t) for t in statement.targets] == [name]:
            return ast.literal_eval(DictCalls().visit(statement.value))
    raise KeyError(name)


class DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` to ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
            return node
        return ast.Dict(
            keys=[keyword.arg and ast.Constant(keyword.arg) for keyword in node.keywords],
            values=[keyword.value for keyword in node.keywords])
