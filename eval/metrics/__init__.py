"""The metrics of a comparison: drift, correlation, ranks, retrieval, and the paired bootstrap."""
