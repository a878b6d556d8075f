"""Graded sentence pairs."""
