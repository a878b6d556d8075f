"""An artifact in the libraries that open it."""

from collections.abc import Sequence
from pathlib import Path

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.api.load import load
from minilmx.arguments import require_strings
from minilmx.errors import EvalError
from minilmx.eval.consumers.check import MISSING, Finding, check_consumers
from minilmx.eval.consumers.places import find_places
from minilmx.eval.consumers.registry import CONSUMERS
from minilmx.eval.consumers.snippets.template import has_fixed_settings, is_offered
from minilmx.eval.consumers.texts import varied_texts
from minilmx.models.manifest import FLOAT32, GraphKind
from minilmx.progress import SILENT, Progress


def check(
    artifact: ArtifactLike,
    consumers: Sequence[str] = (),
    *,
    pythons: Sequence[Path] = (),
    node_modules: Path | None = None,
    time_limit_seconds: float = 300.0,
    progress: Progress = SILENT,
) -> list[Finding]:
    """Check that every installed library opens an artifact and returns its embeddings.

    Each library runs its snippet in a separate process, over real sentences from one token to truncated,
    in batches of 1, 7 and 32, against the artifact's own embeddings (its fixed graph on onnxruntime).
    `consumers` selects libraries, which must be installed. Raises EvalError.

    Example:
        >>> [finding.state for finding in minilmx.check("out", ["onnxruntime"])]
        ['agrees']
    """
    require_strings("consumers", consumers)
    for name in consumers:
        if name not in CONSUMERS:
            raise EvalError(
                f"the consumer {name!r} does not exist; expected one of {', '.join(CONSUMERS)}", unused=True
            )
    chosen = [CONSUMERS[name] for name in dict.fromkeys(consumers)]
    languages = {each.language for each in chosen or CONSUMERS.values()}
    for place, given, language in (("a Python", pythons, "py"), ("node_modules", node_modules, "mjs")):
        if given and language not in languages:
            raise EvalError(
                f"{place} to look in: {', '.join(consumers)}; expected a consumer that runs there",
                unused=True,
            )
    opened = resolve_artifact(artifact)
    if opened.manifest.precision != FLOAT32:
        raise EvalError(
            f"{opened.path}: precision {opened.manifest.precision}, whose embeddings differ from library to "
            "library; expected float32",
            "Check the float32 artifact of the same model.",
        )
    graphs = {"dynamic", "fixed"} if has_fixed_settings(opened) else {"dynamic"}
    chosen = chosen or [
        each for each in CONSUMERS.values() if each.graph in graphs and is_offered(each.name, opened)
    ]
    places = find_places(pythons, node_modules)
    texts = varied_texts(opened)
    with load(opened, graph=GraphKind.FIXED) as embedder:
        reference = embedder.encode(texts)
    findings = []
    for finding in check_consumers(opened, chosen, places, texts, reference, time_limit_seconds, progress):
        if consumers and finding.state == MISSING:
            raise EvalError(f"{finding.consumer} is not installed: {finding.reason}", finding.remedy)
        findings.append(finding)
    return findings
