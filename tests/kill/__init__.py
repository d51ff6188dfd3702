"""Kill tests and fault tests: the real processes, disturbed from outside, must lose nothing and record nothing twice."""
