"""sentence-transformers' own OpenVINO exports: plain, and static int8 calibrated on the sentences of
a text file, one a line, by the library's default recipe. WEIGHTS OUTPUT SENTENCES
"""

import csv
import sys
import tempfile
from pathlib import Path

from sentence_transformers import SentenceTransformer, export_static_quantized_openvino_model

weights, output, sentences = sys.argv[1:]
model = SentenceTransformer(weights, device="cpu", backend="openvino", model_kwargs={"export": True})
model.save_pretrained(output)
with tempfile.TemporaryDirectory() as folder:
    with (Path(folder) / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sentence"])
        rows.writerows([line] for line in Path(sentences).read_text().splitlines())
    export_static_quantized_openvino_model(
        model,
        None,
        output,
        dataset_name=folder,
        dataset_config_name="default",
        dataset_split="train",
        column_name="sentence",
    )
