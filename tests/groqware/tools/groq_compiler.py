"""GROQWARE STAND-IN for `groq-compiler FILE.onnx --save-stats STATS -o OUTPUT`: test equipment, not Groq's.

It writes OUTPUT.aa, which holds the FP16 ONNX file's own bytes, and STATS with a made-up number of cycles.
"""

import json
import os
import sys
import time

import standin

failure, argument = standin.switch("GROQWARE_COMPILER")
standin.announce("groq-compiler")
arguments = sys.argv[1:]
source = next(argument for argument in arguments if argument.endswith(".onnx"))
stats = arguments[arguments.index("--save-stats") + 1]
output = arguments[arguments.index("-o") + 1]
with open(source, "rb") as file:
    graph = file.read()

print(f"Compiling {source} ({len(graph)} bytes)", flush=True)
if failure == "fail":
    sys.exit("groq-compiler: injected failure, nothing was written")
if failure == "refuse" and argument in standin.op_types(source):
    sys.exit(f"groq-compiler: injected failure, {argument} of int64 is not supported")
if failure in ("hang", "stubborn"):
    standin.hang(failure == "stubborn")
if failure == "slow":
    for step in range(1, 11):
        time.sleep(float(argument or 5) / 10)
        print(f"progress {step}/10", flush=True)
if failure == "wait":
    while not os.path.exists(argument):
        time.sleep(0.05)
if failure == "ask":
    print(f"Continue? [y/n] {sys.stdin.read()}", flush=True)
if failure == "binary":
    sys.stdout.buffer.write(b"\xff\xfe not UTF-8\n")
    sys.stdout.flush()

if failure == "memory":
    print("Max memory usage is a secret", flush=True)
else:
    print("[00:00:00] Max memory usage: 123.0 MiB", flush=True)
cycles = {} if failure == "no-cycles" else {"total_cycles": 1000 + 45 * len(standin.op_types(source))}
if failure != "no-stats":
    with open(stats, "w", encoding="utf-8") as file:
        json.dump({"stand_in": standin.MARK, **cycles}, file)

if "--power-analysis" in arguments:
    print("power analysis: a stand-in has no power", flush=True)
if "--groqview" in arguments and failure != "no-view":
    os.mkdir(output + "_bind")
standin.write_program(output + ".aa", "aa", graph, keep=0.5 if failure in ("partial", "truncated") else 1.0)
if failure == "two":
    standin.write_program(output + ".1.aa", "aa", graph)
if failure == "partial":
    sys.exit("groq-compiler: injected failure, No space left on device")
if failure == "late":
    sys.exit("groq-compiler: injected failure after a whole program was written")
print("Compiled", flush=True)
