"""A corpus into a folder of shards, by workers here or on a Ray cluster."""
