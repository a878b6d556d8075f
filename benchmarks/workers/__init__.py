"""One file per library: load(model, ...), as minilmx/eval/benchmark_child.py says."""
