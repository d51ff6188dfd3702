"""Solvers of the multiple-choice knapsack: numbers in, proved numbers out."""
