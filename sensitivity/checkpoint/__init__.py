"""Checkpoints described from their configuration and headers only."""
