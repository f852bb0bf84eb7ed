"""Runs inside the jail, on the standard library alone: a package of its own there, so nothing here imports acecoder_jax."""
