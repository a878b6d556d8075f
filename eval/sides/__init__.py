"""The sides of a comparison, saved or live, and their comparison."""
