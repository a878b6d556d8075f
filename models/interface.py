"""The names and limits of an exported graph's interface."""

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
PACKED_INPUT_NAMES = ("input_ids", "position_ids", "segment_ids")

# Token embeddings come first: libraries that read the first output expect them there.
LAST_HIDDEN_STATE, SENTENCE_EMBEDDING = OUTPUT_NAMES = ("last_hidden_state", "sentence_embedding")
# The only output of a cross-encoder's graph.
SCORE = "score"

# Below 13 the operators differ; 28 and IR 14 are the newest of onnx 1.23.
MIN_OPSET, MAX_OPSET = 13, 28
MAX_IR_VERSION = 14
DEFAULT_OPSET = 16

# The newest that GroqFlow 4.3.1's tools run, with onnx 1.14.0: what is exported from PyTorch weights.
GROQ_MAX_OPSET, GROQ_MAX_IR_VERSION = 17, 9

# For masked positions, and for the smallest norm to divide by: normal numbers of float16.
# In float16, float32's lowest number would be minus infinity and 1e-12 zero; what is less than 6.104e-5 may
# be zero on an accelerator without subnormal numbers.
MASKED = -10000.0
LEAST_NORM = 6.2e-5
