"""Probes: what each candidate format costs each layer, as a map-reduce over units."""
