"""Packing, losses, optimiser, train state, checkpoints, the one jitted update."""
