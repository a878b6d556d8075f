"""The artifact in other libraries: which are installed, and whether each embeds as the artifact does.

registry.py   one entry per consumer
snippets/     the code that runs each of them
form.py       whether an artifact has exactly the files that the export writes, before a library opens it
places.py     the Pythons and the node_modules folder in which consumers are looked for
texts.py      real sentences of every length, from one token to truncated
check.py      each consumer in a process of its own, against the artifact's own embeddings
run.py        that process, in Python: needs numpy and the library, not minilmx
run.mjs       that process, in Node
"""
