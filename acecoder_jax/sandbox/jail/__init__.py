"""Runs inside the jail, on the standard library alone: a package of its own there, which never imports acecoder_jax."""
