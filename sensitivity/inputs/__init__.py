"""Inputs: what the layers of a model see on a calibration set."""
