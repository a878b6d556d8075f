"""A stand-in for SymPy, on PYTHONPATH in the lean GroqFlow environment only.

onnxruntime's quantization imports it with GroqFlow, which takes nearly half of GroqFlow's start, and uses it
only to infer symbolic shapes of a model that it quantises. minilmx asks GroqFlow for no quantisation.
"""
