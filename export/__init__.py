"""From a PyTorch model or a dynamic ONNX file to a fixed-shape ONNX artifact that equals it."""
