"""Embedding a corpus into a folder of shards, by workers on this machine or on a Ray cluster."""
