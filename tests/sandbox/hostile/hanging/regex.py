"""A regular expression that backtracks without end."""

import re


def solve(x):
    return re.match(r'(a+)+$', 'a' * 64 + 'b')
