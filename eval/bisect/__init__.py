"""Bisection: which step of a model's graph causes the drift."""
