"""What is read off error curves: their fits, how two of them agree, where they stand in the model, and what moved."""
