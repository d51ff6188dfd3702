"""Formats + curves + budget + runtime -> problem -> solution -> plan."""
