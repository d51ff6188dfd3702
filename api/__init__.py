"""The REST service: HTTP only."""
