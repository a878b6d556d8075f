"""Whatever turns texts into vectors: an artifact on a runner, a PyTorch model, an endpoint."""
