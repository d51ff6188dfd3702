"""Candidate formats and their exact sizes. Free of torch: planning reads them too.

The registry imports every module of this package, so it must be imported by its full name:
``from sensitivity.formats.registry import get_format``.
"""
