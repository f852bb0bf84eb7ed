"""From a reply to the program that is judged, as EvalPlus 0.3.1 and BigCodeBench 0.2.5 sanitise.

The longest run of lines that parses (`_longest`) is cut down to its imports, in their order, and then those top-level
definitions that the entry point needs, in theirs: what it names, what these name, and so on. So examples, prints and
tests below a function do not run. A few rules surprise, and are kept, for verdicts have to be equal:

- The first definition of a name counts, and a function without a return statement is none.
- Decorated functions and classes, `from __future__` imports, augmented assignments and ifs are left out.
- `a, b = 1, 2` has no name, and is left out where there is an entry point.
- BigCodeBench keeps functions without a return statement. It cuts a program before the lines at its end that are not
  indented and speak of the entry point: all of a program that is `def f(): return 1`, which then stays as it was.
"""

import functools
from collections.abc import Iterator

import tree_sitter
import tree_sitter_python
from tree_sitter import Node

from acecoder_jax.benchmarks._longest import longest_program

_IMPORTS = ("import_statement", "import_from_statement")


def sanitize(reply: str, entry_point: str | None) -> str:
    """The program in a reply, whole, as EvalPlus has it. reply: a text with code in it, in a markdown block or bare.

    entry_point: the function or class that tests call; None keeps all definitions. Where nothing is left, the longest
    run of lines that parses is the program, whatever it is.
    """
    code = longest_program(reply)
    return needed(code, entry_point).strip() or code


def sanitize_as_bigcodebench(reply: str, entry_point: str) -> str:
    """The same as BigCodeBench has it."""
    code = needed(longest_program(reply.strip()), entry_point, needs_return=False)
    return _without_calls(code, entry_point).strip() or longest_program(reply)


def needed(code: str, entry_point: str | None, needs_return: bool = True) -> str:
    """The imports of a program and the definitions that its entry point needs; "" where there are none.

    needs_return: leave out functions without a return statement.
    """
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
        return node if not needs_return or _returns(node) else None
    if node.type == "expression_statement" and node.children[0].type == "assignment":
        return node.children[0]
    return None


def _returns(function: Node) -> bool:
    """Whether EvalPlus sees a return statement in a function.

    It goes through the nodes and gives up at the end of one by which as many nodes have ended as there were leaves:
    in a long `match` whose cases are bare names, say, so that no return below it counts.
    """
    leaves_ahead = 0
    stack = [(function, False)]
    while stack:
        node, ends = stack.pop()
        if ends and leaves_ahead == 0:
            return False
        if ends:
            leaves_ahead -= 1
        elif node.type == "return_statement":
            return True
        elif node.children:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.children))
        else:
            leaves_ahead += 1
    return False


def _without_calls(code: str, entry_point: str) -> str:
    """Without the lines at the end from the first on, behind the last indented line, that has the entry point in it."""
    lines = code.splitlines()
    behind = next((i + 1 for i in reversed(range(len(lines))) if lines[i].startswith(" ")), 0)
    first = next((i for i in range(behind, len(lines)) if entry_point in lines[i]), None)
    return code if first is None else "\n".join(lines[:first])


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
