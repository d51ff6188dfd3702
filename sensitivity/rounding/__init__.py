"""Rounding methods: how weights reach a format's grid."""
