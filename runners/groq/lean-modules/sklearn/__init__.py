"""A stand-in for scikit-learn, on PYTHONPATH in the lean GroqFlow environment only; see base.py."""
