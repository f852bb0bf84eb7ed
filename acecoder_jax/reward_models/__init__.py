"""Reward models as a whole: what they read (texts), their checkpoints, and scoring (scorer)."""
