"""One file a library: load(model, ...) gives a function from N texts to float32 [N, D]."""
