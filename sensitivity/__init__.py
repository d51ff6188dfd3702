"""What storing a layer in a candidate format does to a model: formats, rounding, checkpoints, probes.

Layers of this package, top to bottom: ``probes`` and ``evaluation`` (torch) use ``loading`` and ``rounding`` (torch),
which use ``checkpoint``, ``formats``, ``calibration``, ``links`` and ``statistics`` (no torch: planning reads them too).
"""
