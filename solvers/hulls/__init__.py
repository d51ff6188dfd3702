"""Lower convex hulls of all classes, and the steps along them."""
