"""One loader an export target: ``python -m tests.exports.engines.<target> DIRECTORY LOGITS.npy [DIRECTORY LOGITS.npy …]``.

A loader is a module with ``load(directory) -> Loaded``, run by the environment that has the target's library. It looks at
the checkpoint and at nothing of ours: no plan, no candidate format.
"""
