"""A small text for a value that takes for ever to hash."""

assert solve({(((1,) * 65536,) * 65536,) * 65536}) == 1
