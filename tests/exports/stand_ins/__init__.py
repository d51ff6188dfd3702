"""Engines for the tests of how engines are asked."""
