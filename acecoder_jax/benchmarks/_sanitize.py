"""From a reply to the program that is judged, as EvalPlus 0.3.1 sanitises (and, but for one rule, BigCodeBench 0.2.5).

The longest run of lines that parses (`_longest`) is cut down to its imports, in their order, and then those top-level
definitions that the entry point needs, in theirs: what it names, what these name, and so on. So examples, prints and
tests below a function do not run. A few rules surprise, and are kept, for verdicts have to be equal:

- The first definition of a name counts, and a function without a return statement is none.
- Decorated functions and classes, `from __future__` imports, augmented assignments and ifs are left out.
- `a, b = 1, 2` has no name, and is left out where there is an entry point.
"""

import functools
from collections.abc import Iterator

import tree_sitter
import tree_sitter_python
from tree_sitter import Node

from acecoder_jax.benchmarks._longest import longest_program

_IMPORTS = ("import_statement", "import_from_statement")


def sanitize(reply: str, entry_point: str | None, needs_return: bool = True) -> str:
    """The program in a reply, whole: a text with code in it, in a markdown block or bare.

    entry_point: the function or class that tests call; None keeps all definitions. needs_return: leave out functions
    without a return statement (EvalPlus does, BigCodeBench does not). Where nothing is left, the longest run of lines
    that parses is the program, whatever it is.
    """
    code = longest_program(reply)
    return needed(code, entry_point, needs_return).strip() or code


def needed(code: str, entry_point: str | None, needs_return: bool = True) -> str:
    """The imports of a program and the definitions that its entry point needs; "" where there are none."""
    data = code.encode("utf-8", "surrogatepass")
    imports: list[Node] = []
    definitions: dict[str | None, Node] = {}
    for node in tree_sitter.Parser(_language()).parse(data).root_node.children:
        if node.type in _IMPORTS:
            imports.append(node)
        elif (definition := _definition(node, needs_return)) is not None:
            definitions.setdefault(_name(definition), definition)
    if entry_point:
        wanted = _reached(entry_point, definitions)
        definitions = {name: node for name, node in definitions.items() if name in wanted}
    parts = (data[node.start_byte : node.end_byte] for node in (*imports, *definitions.values()))
    return b"\n".join(parts).decode("utf-8", "surrogatepass")


def _definition(node: Node, needs_return: bool) -> Node | None:
    """What a top-level statement defines: a class, a function or, of an assignment, the assignment alone."""
    if node.type == "class_definition":
        return node
    if node.type == "function_definition":
        returns = not needs_return or any(inner.type == "return_statement" for inner in _walk(node))
        return node if returns else None
    if node.type == "expression_statement" and node.children[0].type == "assignment":
        return node.children[0]
    return None


def _reached(entry_point: str, definitions: dict[str | None, Node]) -> set[str | None]:
    """The names that the entry point needs, its own first."""
    reached: set[str | None] = {entry_point}
    queue: list[str | None] = [entry_point]
    while queue:
        if (node := definitions.get(queue.pop())) is not None:
            new = {_text(inner) for inner in _walk(node) if inner.type == "identifier"} - reached
            reached |= new
            queue.extend(new)
    return reached


def _name(definition: Node) -> str | None:
    """The first identifier right below a definition. Of `a.b = c` that is c: EvalPlus names it so."""
    return next((_text(child) for child in definition.children if child.type == "identifier"), None)


def _walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "surrogatepass")


@functools.cache
def _language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_python.language())
