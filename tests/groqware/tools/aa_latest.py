"""GROQWARE STAND-IN for `aa-latest INPUT.aa --output-iop OUTPUT.iop ...`: test equipment, not Groq's."""

import sys

import standin

failure, _ = standin.switch("GROQWARE_ASSEMBLER")
standin.announce("aa-latest")
arguments = sys.argv[1:]
output = arguments[arguments.index("--output-iop") + 1]
if failure == "fail":
    sys.exit("aa-latest: injected failure, nothing was written")
if failure in ("hang", "stubborn"):
    standin.hang(failure == "stubborn")
try:
    graph = standin.read_program(arguments[0], "aa")
except (ValueError, KeyError) as error:
    sys.exit(f"aa-latest: {error}")
standin.write_program(output, "iop", graph, keep=0.5 if failure == "truncated" else 1.0)
print(f"Assembled {output}")
