"""Where the tokens of packed rows stand, and which of them may see which.

Segment 0 is padding: it is attended to by nobody, and its own outputs mean nothing. A segment is a sequence, or a
prompt with several branches that go on from it: the prompt is branch 0, and a token of another branch sees the prompt
and its own branch alone. Packing and padding on either side need no case of their own: a token sees what is visible to
it at positions not after its own.
Letters: b batch, t query time, s key time.
"""

from typing import NamedTuple

import jax

NO_WINDOW = 2**30  # wider than any sequence
MASKED = -1e30  # finite, so that a row with no key at all gives numbers and not NaN


class Places(NamedTuple):
    """Segment, position within the sequence and branch of every token of some rows. branch None: no branches."""

    segment_bt: jax.Array
    position_bt: jax.Array
    branch_bt: jax.Array | None = None


def mask(queries: Places, keys: Places, window: jax.Array | int = NO_WINDOW) -> jax.Array:
    """Which keys a query may see: [b, t, s] of bool. window: how many positions it looks back on, its own included.

    segment [5, 5, 6] with position [0, 1, 0] -> rows [1, 0, 0], [1, 1, 0], [0, 0, 1].
    branch [0, 1, 1, 2] with position [0, 1, 2, 1] in one segment -> [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0],
    [1, 0, 0, 1].
    """
    same = queries.segment_bt[:, :, None] == keys.segment_bt[:, None, :]
    age = queries.position_bt[:, :, None] - keys.position_bt[:, None, :]
    seen = same & (age >= 0) & (age < window) & (keys.segment_bt[:, None, :] != 0)
    if queries.branch_bt is None or keys.branch_bt is None:
        return seen
    key_branch = keys.branch_bt[:, None, :]
    return seen & ((key_branch == 0) | (key_branch == queries.branch_bt[:, :, None]))
