"""A server of all-MiniLM-L6-v2 with LitServe, whose OpenAI protocol is its own. Run: PORT FOLDER MODE.

MODE is same, unnormalised, float16, or other (the first of the model's six layers).
"""

import sys

import litserve
import numpy as np
from sentence_transformers import SentenceTransformer

PORT, FOLDER, MODE = sys.argv[1:]


class Model(litserve.LitAPI):
    """sentence-transformers at 48 tokens."""

    def setup(self, device):
        self.model = SentenceTransformer(FOLDER, device="cpu", local_files_only=True)
        self.model.max_seq_length = 48
        if MODE == "unnormalised":
            del self.model[2]
        if MODE == "other":
            layers = self.model[0].auto_model.encoder
            layers.layer = layers.layer[:1]

    def predict(self, inputs):
        values = self.model.encode(list(inputs), show_progress_bar=False)
        return values.astype(np.float16).astype(np.float32) if MODE == "float16" else values


if __name__ == "__main__":
    api = Model(spec=litserve.OpenAIEmbeddingSpec())
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(PORT), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
