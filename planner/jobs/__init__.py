"""Jobs: sets of units with leases, retries and one transaction per result."""
