"""GROQWARE STAND-IN for `onnxmodelanalyzer -u -i FILE`: test equipment, not Groq's. It supports every op.

GroqFlow splits the output at newlines and reads element -4 as the list of all ops and -2 as that of the
unsupported.
"""

import sys

import standin

failure, argument = standin.switch("GROQWARE_ANALYZER")
standin.announce("onnxmodelanalyzer")
if failure == "crash":
    sys.exit("onnxmodelanalyzer: injected crash")
if failure == "garbled":
    print("\x00\x07 [1, 2\nneither a list nor anything else\n{{{{\n")
    sys.exit(0)
if failure in ("hang", "stubborn"):
    standin.hang(failure == "stubborn")

ops = standin.op_types(sys.argv[sys.argv.index("-i") + 1])
unsupported = [argument or ops[0]] if failure == "unsupported" else []
print(standin.MARK)
print(f"All ops:\n{ops}\nUnsupported ops:\n{unsupported}")
