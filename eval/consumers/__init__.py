"""The artifact in other libraries: which are here, and whether each embeds as the artifact does.

registry.py   one entry a consumer; the lines that it is driven by are its snippet
places.py     the Pythons and the node_modules in which consumers are looked for
texts.py      real sentences of every length, from one token to truncated
check.py      each consumer in a process of its own, against the artifact's own embeddings
run.py        that process, in Python: needs numpy and the library, nothing of minilmx
run.mjs       that process, in Node
"""
