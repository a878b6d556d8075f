"""A server of all-MiniLM-L6-v2 with LitServe, whose OpenAI protocol is its own. Run: PORT FOLDER.

The model of a request is same, unnormalised, float16, or other (the first of the model's six layers).
"""

import copy
import sys

import litserve
import numpy as np
from sentence_transformers import SentenceTransformer

PORT, FOLDER = sys.argv[1:]


class Model(litserve.LitAPI):
    """sentence-transformers at 48 tokens."""

    def setup(self, device):
        same = SentenceTransformer(FOLDER, device="cpu", local_files_only=True)
        same.max_seq_length = 48
        self.models = {name: copy.deepcopy(same) for name in ("same", "unnormalised", "other")}
        del self.models["unnormalised"][2]
        layers = self.models["other"][0].auto_model.encoder
        layers.layer = layers.layer[:1]

    def decode_request(self, request, context):
        context["model"] = request.model
        return request.input

    def predict(self, inputs, context):
        name = context["model"]
        values = self.models["same" if name == "float16" else name].encode(
            list(inputs), show_progress_bar=False
        )
        return values.astype(np.float16).astype(np.float32) if name == "float16" else values


if __name__ == "__main__":
    api = Model(spec=litserve.OpenAIEmbeddingSpec())
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(PORT), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
