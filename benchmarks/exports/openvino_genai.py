"""A model and its tokenizer as OpenVINO GenAI reads them, by optimum-intel. WEIGHTS OUTPUT SENTENCES"""

import sys
from pathlib import Path

import openvino
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForFeatureExtraction
from transformers import AutoTokenizer

weights, output, _ = sys.argv[1:]
OVModelForFeatureExtraction.from_pretrained(weights, export=True, compile=False).save_pretrained(output)
tokenizer = AutoTokenizer.from_pretrained(weights)
tokenizer.save_pretrained(output)
openvino.save_model(convert_tokenizer(tokenizer), Path(output) / "openvino_tokenizer.xml")
