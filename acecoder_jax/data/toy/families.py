"""The table of toy families: for each, its wordings, its correct body, the buggy bodies, and inputs for its tests.

Templates are str.format strings: {x} is the first argument's name, {y} the second's, {k} and {j} the constants.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Constants = Mapping[str, Any]
WORDS = ("ant", "bee", "cat", "cow", "dog", "elk", "fox", "hen", "owl", "pig", "cup", "hat")
ARGUMENTS = {
    "numbers": ("xs", "nums", "vals"),
    "words": ("ws", "parts", "words"),
    "text": ("s", "text", "word"),
    "number": ("n", "x", "num"),
    "other": ("m", "y", "low"),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of problem.

    kinds: the kind of each argument, a key of ARGUMENTS.
    wordings: ways to state the task.
    bodies: the correct body first, then the buggy ones; the statements of the function, without indent.
    weights: how often the unreliable author writes each body, in twentieths.
    constants: the values that each constant may take.
    inputs: draws the arguments of one test.
    """

    name: str
    kinds: tuple[str, ...]
    wordings: tuple[str, ...]
    bodies: tuple[str, ...]
    weights: tuple[int, ...]
    inputs: Callable[[random.Random, Constants], tuple[Any, ...]]
    constants: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


def _numbers(rng: random.Random, constants: Constants, least: int = 2) -> tuple[list[int]]:
    """Two to four small numbers; half the lists hold a constant, where `>` and `>=` differ."""
    numbers = [rng.randrange(10) for _ in range(rng.randint(least, least + 2))]
    if "k" in constants and rng.random() < 0.5:
        numbers[rng.randrange(len(numbers))] = constants["k"]
    return (numbers,)


def _long_numbers(rng: random.Random, constants: Constants) -> tuple[list[int]]:
    """A list longer than the constant k, which counts or points at items."""
    return ([rng.randrange(10) for _ in range(constants["k"] + rng.randint(1, 2))],)


def _number(rng: random.Random, constants: Constants) -> tuple[int]:
    """A small number, half the time a constant or its neighbour."""
    if rng.random() < 0.5:
        return (max(0, rng.choice(list(constants.values())) + rng.randint(-1, 1)),)
    return (rng.randrange(20),)


def _multiple(rng: random.Random, constants: Constants) -> tuple[int]:
    return (rng.choice((rng.randint(1, 20), constants["k"] * rng.randint(1, 5))),)


def _digits(rng: random.Random, constants: Constants) -> tuple[int]:
    return (rng.randint(10, 999),)


def _two_numbers(rng: random.Random, constants: Constants) -> tuple[int, int]:
    return rng.randrange(10), rng.randrange(10)


def _perhaps_empty(rng: random.Random, constants: Constants) -> tuple[list[int]]:
    return ([],) if rng.random() < 0.4 else _numbers(rng, constants)


def _word(rng: random.Random, constants: Constants) -> tuple[str]:
    return (rng.choice(WORDS),)


def _words(rng: random.Random, constants: Constants) -> tuple[list[str]]:
    return ([rng.choice(WORDS) for _ in range(rng.randint(2, 3))],)


def _phrase(rng: random.Random, constants: Constants) -> tuple[str]:
    return (" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 2))),)


def _letters(rng: random.Random, constants: Constants) -> tuple[str]:
    """Letters in which each constant letter is common."""
    return ("".join(rng.choice([*constants.values(), *"no"]) for _ in range(rng.randint(2, 5))),)


def _mirror(rng: random.Random, constants: Constants) -> tuple[str]:
    half = "".join(rng.choice("ano") for _ in range(2))
    return (half + rng.choice((half[::-1], "".join(rng.sample(half, 2)), rng.choice("ano") + half[0])),)


K = {"k": range(2, 9)}  # below the largest number that `_numbers` draws, so that a limit bites
FEW = {"k": range(2, 5)}
LETTER = {"k": "abcdet"}

FAMILIES = (
    Family(
        "add_each", ("numbers",),
        ("add {k} to each item of {x}", "every item of {x} plus {k}", "{x} with each item {k} more",
         "raise all items of {x} by {k}"),
        ("return [v + {k} for v in {x}]", "return [v * {k} for v in {x}]", "return {x} + [{k}]"),
        (5, 10, 5), _numbers, K),
    Family(
        "times_each", ("numbers",),
        ("multiply each item of {x} by {k}", "every item of {x} times {k}", "scale all items of {x} by {k}",
         "{x} with each item {k} times as big"),
        ("return [v * {k} for v in {x}]", "return {x} * {k}", "return [v + {k} for v in {x}]"),
        (10, 6, 4), _numbers, K),
    Family(
        "count_over", ("numbers",),
        ("count the items of {x} over {k}", "how many items of {x} are more than {k}",
         "the number of items of {x} above {k}", "count items in {x} that are greater than {k}"),
        ("return sum(v > {k} for v in {x})", "return sum(v >= {k} for v in {x})", "return sum(v < {k} for v in {x})"),
        (5, 10, 5), _numbers, K),
    Family(
        "sum_even", ("numbers",),
        ("the sum of the even items of {x}", "add up the even items in {x}", "total of all even items of {x}",
         "sum only the items of {x} that are even"),
        ("return sum(v for v in {x} if v % 2 == 0)", "return sum(v for v in {x} if v % 2)", "return sum({x}[::2])"),
        (5, 10, 5), _numbers),
    Family(
        "squares", ("numbers",),
        ("the sum of the squares of {x}", "add up the square of each item of {x}", "square all items of {x} and sum",
         "total of each item of {x} times itself"),
        ("return sum(v * v for v in {x})", "return sum({x}) ** 2", "return sum(v * 2 for v in {x})"),
        (10, 6, 4), _numbers),
    Family(
        "reverse", ("text",),
        ("{x} in reverse", "the text {x} from back to front", "turn {x} around", "{x} with its letters backwards"),
        ("return {x}[::-1]", "return {x}[-1:]", "return {x}[1:]"),
        (10, 6, 4), _word),
    Family(
        "repeat", ("text",),
        ("repeat {x} {k} times", "the text {x}, {k} times over", "{k} copies of {x} in a row", "say {x} {k} times"),
        ("return {x} * {k}", "return {x} * ({k} - 1)", "return {x} + {x}"),
        (5, 10, 5), _word, {"k": range(3, 8)}),
    Family(
        "largest", ("numbers",),
        ("the largest item of {x}", "find the biggest number in {x}", "the greatest item in {x}",
         "pick the item of {x} that is largest"),
        ("return max({x})", "return min({x})", "return {x}[-1]"),
        (10, 5, 5), _numbers),
    Family(
        "last_few", ("numbers",),
        ("the last {k} items of {x}", "keep only the last {k} of {x}", "the {k} items at the end of {x}",
         "the final {k} items in {x}"),
        ("return {x}[-{k}:]", "return {x}[{k}:]", "return {x}[:{k}]"),
        (5, 10, 5), _long_numbers, FEW),
    Family(
        "first_few", ("numbers",),
        ("the first {k} items of {x}", "keep only the first {k} of {x}", "the {k} items at the start of {x}",
         "the front {k} items in {x}"),
        ("return {x}[:{k}]", "return {x}[{k}:]", "return {x}[-{k}:]"),
        (5, 10, 5), _long_numbers, FEW),
    Family(
        "cap_each", ("numbers",),
        ("limit each item of {x} to at most {k}", "{x} with items over {k} cut to {k}", "cap all items of {x} at {k}",
         "lower the items of {x} above {k} to {k}"),
        ("return [min(v, {k}) for v in {x}]", "return [max(v, {k}) for v in {x}]",
         "return [v for v in {x} if v <= {k}]"),
        (5, 10, 5), _numbers, K),
    Family(
        "divides", ("number",),
        ("is {x} a multiple of {k}", "does {k} divide {x}", "true if {x} can be divided by {k}",
         "can {x} be split into {k} equal parts"),
        ("return {x} % {k} == 0", "return {x} // {k} == 0", "return {k} % {x} == 0"),
        (5, 10, 5), _multiple, K),
    Family(
        "join", ("words",),
        ("join {x} with {k}", "put {k} between the words of {x}", "link all of {x} by {k}",
         "one text of the words of {x} split by {k}"),
        ('return "{k}".join({x})', 'return " ".join({x})', 'return "{k}".join({x}) + "{k}"'),
        (10, 5, 5), _words, {"k": "-+/*"}),
    Family(
        "drop_at", ("numbers",),
        ("{x} without the item at index {k}", "drop the item of {x} at index {k}", "remove index {k} from {x}",
         "delete the item at place {k} of {x}, from 0"),
        ("return {x}[:{k}] + {x}[{k} + 1:]", "return {x}[{k} + 1:]", "return [v for v in {x} if v != {k}]"),
        (5, 10, 5), _long_numbers, FEW),
    Family(
        "without", ("numbers",),
        ("{x} without any {k}", "drop each {k} from {x}", "remove all items equal to {k} from {x}",
         "keep the items of {x} that are not {k}"),
        ("return [v for v in {x} if v != {k}]", "return [v for v in {x} if v > {k}]", "return {x}[{k}:]"),
        (10, 6, 4), _numbers, K),
    Family(
        "keep_below", ("numbers",),
        ("keep the items of {x} below {k}", "all items of {x} less than {k}", "the items in {x} that are under {k}",
         "drop the items of {x} that are {k} or more"),
        ("return [v for v in {x} if v < {k}]", "return [v for v in {x} if v <= {k}]",
         "return [v for v in {x} if v > {k}]"),
        (5, 10, 5), _numbers, K),
    Family(
        "count_letter", ("text",),
        ("count the letter {k} in {x}", "how many times is {k} in {x}", "the number of {k} letters in {x}",
         "how often does {x} have the letter {k}"),
        ('return {x}.count("{k}")', 'return {x}.find("{k}")', 'return "{k}" in {x}'),
        (10, 6, 4), _letters, LETTER),
    Family(
        "starts", ("text",),
        ("does {x} start with {k}", "is {k} the first letter of {x}", "true if {x} begins with {k}",
         "check that the text {x} starts with {k}"),
        ('return {x}[0] == "{k}"', 'return {x}[-1] == "{k}"', 'return "{k}" in {x}'),
        (5, 10, 5), _letters, LETTER),
    Family(
        "spread", ("numbers",),
        ("the largest minus the smallest of {x}", "the gap from smallest to largest in {x}",
         "how far apart are the ends of {x} in size", "the range of the items of {x}"),
        ("return max({x}) - min({x})", "return max({x}) - {x}[0]", "return {x}[-1] - {x}[0]"),
        (5, 10, 5), _numbers),
    Family(
        "sort_down", ("numbers",),
        ("sort {x} from large to small", "{x} in falling order", "order {x} with the largest first",
         "sort {x} down"),
        ("return sorted({x})[::-1]", "return sorted({x})", "return {x}[::-1]"),
        (5, 10, 5), _numbers),
    Family(
        "skip", ("numbers",),
        ("every {k} th item of {x}, first item in", "items of {x} in steps of {k} from the first",
         "walk {x} from index 0 by {k}", "take the first of each {k} items of {x}"),
        ("return {x}[::{k}]", "return {x}[{k}:]", "return {x}[{k} - 1::{k}]"),
        (5, 10, 5), _long_numbers, FEW),
    Family(
        "between", ("number",),
        ("is {x} from {j} to {k}, ends in", "true if {x} is at least {j} and at most {k}",
         "is {x} in the range {j} to {k}, both in", "check {x} is not below {j} and not above {k}"),
        ("return {j} <= {x} <= {k}", "return {j} < {x} < {k}", "return {x} <= {k}"),
        (5, 10, 5), _number, {"j": range(2, 5), "k": range(6, 10)}),
    Family(
        "upper", ("text",),
        ("{x} in upper case", "make all letters of {x} capital", "the text {x} in big letters",
         "turn each letter of {x} to a capital"),
        ("return {x}.upper()", "return {x}.title()", "return {x}.lower()"),
        (10, 6, 4), _phrase),
    Family(
        "digit_sum", ("number",),
        ("the sum of the digits of {x}", "add up all digits in {x}", "total of the digits of {x}",
         "sum each digit of the number {x}"),
        ("return sum(int(c) for c in str({x}))", "return len(str({x}))", "return sum(range({x}))"),
        (10, 5, 5), _digits),
    Family(
        "where_max", ("numbers",),
        ("the index of the largest item of {x}", "where is the biggest item in {x}", "the place of the top item of {x}",
         "find the index of the greatest item in {x}"),
        ("return {x}.index(max({x}))", "return max({x})", "return len({x}) - 1"),
        (6, 10, 4), _numbers),
    Family(
        "stars", ("text",),
        ("put {k} stars before {x}", "{x} with {k} stars in front", "start {x} with {k} stars",
         "{k} stars and then {x}"),
        ('return "*" * {k} + {x}', 'return {x} + "*" * {k}', 'return "*" + {x}'),
        (10, 6, 4), _word, K),
    Family(
        "mirror", ("text",),
        ("does {x} read the same backwards", "is {x} equal to its reverse", "true if {x} is the same in reverse",
         "is {x} a mirror of itself"),
        ("return {x} == {x}[::-1]", "return {x}[0] == {x}[-1]", "return {x} != {x}[::-1]"),
        (5, 10, 5), _mirror),
    Family(
        "replace", ("text",),
        ("replace each {j} in {x} by {k}", "change every {j} of {x} to {k}", "{x} with {k} in place of {j}",
         "swap each letter {j} in {x} for {k}"),
        ('return {x}.replace("{j}", "{k}")', 'return {x}.replace("{k}", "{j}")', 'return {x}.replace("{j}", "")'),
        (10, 6, 4), _letters, {"j": "abc", "k": "det"}),
    Family(
        "distance", ("number",),
        ("how far is {x} from {k}", "the distance of {x} to {k}", "the gap of {x} and {k}, never below 0",
         "steps from {x} to {k} on the number line"),
        ("return abs({x} - {k})", "return {x} - {k}", "return {k} - {x}"),
        (5, 10, 5), _number, K),
    Family(
        "larger_plus", ("number", "other"),
        ("the larger of {x} and {y}, plus {k}", "add {k} to the bigger of {x} and {y}",
         "{k} more than the top of {x} and {y}", "the max of {x} and {y} raised by {k}"),
        ("return max({x}, {y}) + {k}", "return min({x}, {y}) + {k}", "return {x} + {y} + {k}"),
        (5, 10, 5), _two_numbers, K),
    Family(
        "at_most", ("number",),
        ("{x}, but at most {k}", "limit {x} to {k}", "the number {x} cut to {k} if over", "{x} with {k} as its top"),
        ("if {x} > {k}:\n    return {k}\nreturn {x}", "if {x} < {k}:\n    return {k}\nreturn {x}",
         "if {x} > {k}:\n    return {x}\nreturn {k}"),
        (10, 6, 4), _number, K),
    Family(
        "first_or", ("numbers",),
        ("the first item of {x}, or {k} if empty", "item 0 of {x}, but {k} for no items",
         "{k} if {x} is empty, else its first item", "the front item of {x}, or {k} when there is none"),
        ("if not {x}:\n    return {k}\nreturn {x}[0]", "return {x}[0]", "return {x}[-1]"),
        (7, 9, 4), _perhaps_empty, K),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}
