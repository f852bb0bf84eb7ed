"""Built-in functions replaced, for the tests that follow."""

import builtins

builtins.len = builtins.print = builtins.abs = None
assert False
