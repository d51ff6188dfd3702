"""Endpoints: parse, call one service in one transaction, answer. Nothing is decided here."""
