"""Whole quantized checkpoints, one writer for each export target."""
