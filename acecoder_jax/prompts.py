"""Prompts: the chat that the policy reads, its one rendering to tokens, and the way back from a reply to a program."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

PYTHON = frozenset({"python", "python3", "py", "py3"})

R1_SYSTEM_PROMPT = (
    "You solve programming tasks in Python. First reason about the task in private between <think> and </think>: "
    "what is asked, which cases matter, which method fits. Then give your reply between <answer> and </answer>, "
    "with the whole program in one ```python block."
)

# How a reply to `program_request` is begun for the model, where that can be: what it writes next is the program.
PROGRAM_START = "The script below solves the task with one self-contained function:\n```python\n"

_FENCE = re.compile(r"^[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$", re.MULTILINE)
# A comment, a one-line string, or the quotes that open a long one. The order matters: """ before ".
_LEXEME = re.compile(r"""#[^\n]*|'''|\"\"\"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")


def chat(question: str, system: str | None = None) -> list[dict[str, str]]:
    """The messages of one question: an optional system message, then the user's turn."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    return [*messages, {"role": "user", "content": question}]


def program_request(question: str, tests: Sequence[str]) -> str:
    """The user's turn that asks for a program: the question, and the tests to show of those it has to pass."""
    shown = "".join(f"{test.strip()}\n" for test in tests)
    return (
        "Write a self-contained Python script that solves this task. Reply with the script in one markdown code block."
        f"\n\n{question.strip()}\n{shown}"
    )


def program_reply(program: str) -> str:
    """The assistant's turn that holds a program: one fenced python block."""
    return f"```python\n{program}\n```"


def encodable(text: str) -> str:
    """The text with U+FFFD for each half of a character that stands alone, which no file and no endpoint takes.

    JSON's escapes can hold such halves (a reply cut in the middle of an emoji), and both halves one after the other.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def render_chat(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool) -> list[int]:
    """The tokens of a chat: THE rendering, for policy and reward model alike.

    add_generation_prompt: end with the opening of the assistant's turn, ready for the model to go on.
    ValueError when the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(f"the tokenizer {tokenizer.name_or_path!r} has no chat template, so a chat cannot be rendered")
    tokens = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=add_generation_prompt, return_dict=False
    )
    return [int(token) for token in tokens]


def extract_answer(text: str) -> str:
    """What stands in the last <answer> block, closed or cut short; the whole text where there is none."""
    _, tag, tail = text.rpartition("<answer>")
    return tail.partition("</answer>")[0].strip() if tag else text


def extract_code(text: str) -> str:
    """The program in a reply: the last fenced python block, else the last fenced block, else the whole text.

    A block without a closing fence (a reply cut short) reaches to the end. Empty blocks do not count. A fence inside a
    long string of the program, such as an example in a docstring, does not close the block. The block loses the indent
    that its lines share, and \\r\\n becomes \\n.
    """
    codes = code_blocks(text)
    python = [code for language, code in codes if language in PYTHON]
    return (python or [code for _, code in codes] or [text.replace("\r\n", "\n")])[-1]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text as (language, code), in their order, as `extract_code` reads them."""
    blocks = _blocks(text.replace("\r\n", "\n"))
    return [(language, textwrap.dedent(code).strip("\n")) for language, code in blocks if code.strip()]


def extract_started_code(text: str, start: str) -> str:
    """The program in a reply that was begun with `start`, an opened block: the first block, whatever stands below it.

    A model that did not go on from `start` has its reply read by `extract_code`.
    """
    if not text.startswith(start):
        return extract_code(text)
    blocks = _blocks(text.replace("\r\n", "\n"))
    code = next((code for _, code in blocks if code.strip()), "").strip("\n")
    return textwrap.dedent(code) if code.startswith((" ", "\t")) else code


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a text as (language, code)."""
    opening = _FENCE.search(text)
    while opening is not None:
        start = min(opening.end() + 1, len(text))
        closing = _closing_fence(text, start, opening["marks"])
        words = opening["info"].lower().split()
        yield words[0] if words else "", text[start : closing.start() if closing else len(text)]
        # A fence with a language opens the next block at once: the one before it was never closed.
        opening = _FENCE.search(text, closing.start() if closing["info"] else closing.end()) if closing else None


def _closing_fence(text: str, start: int, marks: str) -> re.Match[str] | None:
    """The fence that ends the block whose code starts at `start`; None where the text ends first."""
    at = start
    while fence := _FENCE.search(text, at):
        string_end = _open_string_end(text, start, fence.start())
        if string_end is not None:
            inside = list(_FENCE.finditer(text, fence.start(), string_end))
            # Whole blocks inside a string come in pairs, the second fence bare. Anything else is a string that the
            # program never closed: then the fence ends the block, or all that follows would be lost.
            if len(inside) % 2 == 0 and not any(inner["info"] for inner in inside[1::2]):
                at = string_end
                continue
        if fence["marks"].startswith(marks):
            return fence
        at = fence.end()
    return None


def _open_string_end(text: str, start: int, position: int) -> int | None:
    """Where the long string ends that is open at `position` of the code from `start`; None where none is, or no end."""
    at = start
    while lexeme := _LEXEME.search(text, at, position):
        at = lexeme.end()
        if lexeme[0] in ("'''", '"""'):
            end = text.find(lexeme[0], at)
            if end < 0:
                return None
            at = end + 3
            if at > position:
                return at
    return None
