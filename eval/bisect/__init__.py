"""Bisection: which step of a model's graph makes the drift."""
