"""The numbers of a comparison: drift, correlation, ranks, retrieval, and what chance explains."""
