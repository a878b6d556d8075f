"""A model converted by CTranslate2's own converter, with its tokenizer. WEIGHTS OUTPUT SENTENCES

The encoder quantises by itself if it is opened as int8.
"""

import shutil
import sys
from pathlib import Path

from ctranslate2.converters import TransformersConverter

weights, output, _ = sys.argv[1:]
TransformersConverter(weights).convert(output)
shutil.copy(Path(weights) / "tokenizer.json", output)
