"""Tests of runtime profiles."""
