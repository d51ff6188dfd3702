"""Exports loaded by the libraries that they are for: a mixed plan of each model, written, loaded and compared.

``targets`` says what is tested of an export target, ``engines`` loads its checkpoints with the target's own library,
``checkpoints`` writes them, ``comparison`` holds the answer of the engine against the plan.
"""
