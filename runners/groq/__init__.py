"""The runner `groq`: the artifact's own ONNX bytes through GroqFlow 4.3.1 to a GroqCard.

machine.py      what is installed here: SDK tools, versions, cards
environment.py  GroqFlow's own Python environment: finding it and making it
doctor.py       one check a line, each with a remedy
preflight.py    what would fail in a ten-minute compile, said before it
bridge.py       one worker process, and the talk with it
worker.py       that process: runs in GroqFlow's Python, needs nothing of minilmx
build.py        the cache of finished builds
bundle.py       a build as one file, for the machine with the card
runner.py       the Runner
"""
