"""sentence-transformers' own ONNX exports of a model: plain, O3 and qint8. WEIGHTS OUTPUT SENTENCES"""

import sys

from sentence_transformers import (
    SentenceTransformer,
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
)

weights, output, _ = sys.argv[1:]
model = SentenceTransformer(weights, device="cpu", backend="onnx", model_kwargs={"export": True})
model.save_pretrained(output)
export_optimized_onnx_model(model, "O3", output)
export_dynamic_quantized_onnx_model(model, "avx512_vnni", output)
