"""PyTorch model (or dynamic ONNX file) to fixed-shape ONNX to proven artifact."""
