"""Models for MLServer, whose KServe protocol is its own: the graphs of an artifact."""

from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from tokenizers import Tokenizer


class Tokens(MLModel):
    """The fixed graph, which takes tokens; `uri` is its file."""

    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        names = [output.name for output in self.session.get_outputs()]
        outputs = self.session.run(names, feeds)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output(name, values) for name, values in zip(names, outputs, strict=True)
            ],
        )


class Texts(MLModel):
    """The dynamic-shape graph behind the artifact's tokenizer; `uri` is the artifact's folder."""

    async def load(self) -> bool:
        folder = Path(self.settings.parameters.uri)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (texts,) = payload.inputs
        tokens = self.tokenizer.encode_batch(StringCodec.decode_input(texts))
        feeds = {
            "input_ids": np.array([each.ids for each in tokens]),
            "attention_mask": np.array([each.attention_mask for each in tokens]),
            "token_type_ids": np.array([each.type_ids for each in tokens]),
        }
        (values,) = self.session.run(["sentence_embedding"], feeds)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("sentence_embedding", values)]
        )
