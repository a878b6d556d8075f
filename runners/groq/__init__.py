"""The runner `groq`: the artifact's own ONNX bytes through GroqFlow 4.3.1 to a GroqCard.

pythonpath.py    PYTHONPATH as the sites with GroqCards set it, without what hides our packages
runtime.py       the Python that drives Groq's runtime
machine.py       what is installed here: SDK tools, versions, cards
pins.py          the packages that GroqFlow's Python environment needs
environment.py   finding that environment, and checking its packages
installation.py  creating it
trial.py         a build of a tiny graph in it
doctor.py        one check per line, each with a remedy
preflight.py     what would fail in a ten-minute compile, reported before it starts
bridge.py        starting a worker process and exchanging messages with it
worker.py        that process: it runs in GroqFlow's Python and imports nothing of minilmx
build.py         building an artifact, or taking its build from the cache
cache.py         the cache of finished builds
bundle.py        a build as one file, for the machine with the card
job.py           scripts for the schedulers of those sites
standalone.py    what runs a bundle there, with nothing of minilmx
cards.py         one worker per card, and what runs where
runner.py        the Runner
selftest.py      a small program that answers what a card does with our graphs, and selftest-artifact/, its
                 graphs (tests/runners/groq/selftest_model.py writes them)
"""
