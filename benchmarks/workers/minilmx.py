"""minilmx with one of its artifacts, graphs and runners."""

from minilmx import load as open_embedder


def load(model, max_tokens, graph, runner, options):
    """`graph` is "fixed", "packed" or "dynamic", and `options` are the runner's."""
    embedder = open_embedder(model, runner, graph, **options)
    length = embedder.artifact.shape.sequence_length
    if length > max_tokens:
        raise ValueError(f"the artifact takes {length} tokens, expected {max_tokens}")

    def embed(texts):
        values = embedder.encode(texts)
        if length < max_tokens and embedder.truncated_rows:
            raise ValueError(f"the artifact truncates at less than {max_tokens} tokens")
        return values, {}

    return embed
