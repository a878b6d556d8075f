"""Golden files: snapshot tests of embeddings."""

from collections.abc import Sequence
from pathlib import Path

from minilmx.api.sides import EmbedderLike, inputs_of, side_of
from minilmx.errors import EvalError
from minilmx.eval.golden import Golden, read_golden, save_golden
from minilmx.eval.inputs import Inputs
from minilmx.eval.limits import LimitsLike, limit_rules
from minilmx.eval.presets import require_preset
from minilmx.eval.results import Result
from minilmx.eval.sides.compare import compare_sides
from minilmx.eval.sides.live import embed_golden
from minilmx.eval.sides.side import is_saved
from minilmx.files.atomic import check_writable
from minilmx.progress import SILENT, Progress


def create_golden(
    golden: Path | str,
    embedder: EmbedderLike,
    texts: Path | str | Sequence[str],
    *,
    column: str | None = None,
    preset: str | None = None,
    replace: bool = False,
    progress: Progress = SILENT,
) -> Golden:
    """Embed texts and keep them with their embeddings in a golden file, for `check_golden`.

    `embedder` and `texts` are as in `compare`, without saved embeddings. `check_golden` uses `preset`
    unless it is given another. Raises EvalError for no texts and for embeddings that are not finite,
    OutputError, and the errors of `compare`.

    Example:
        >>> minilmx.create_golden("new.safetensors", "out", ["One sentence.", "Another one."]).values.shape
        (2, 384)
    """
    if preset is not None:
        require_preset(preset)
    check_writable(Path(golden), replace=replace)
    source = side_of(embedder)
    if is_saved(source):
        raise EvalError("a golden file of saved embeddings; expected an embedder")
    record, values = embed_golden(source, inputs_of(texts, column).texts, preset, progress)
    return save_golden(Path(golden), record, values, replace=replace)


def check_golden(
    golden: Path | str | Golden,
    embedder: EmbedderLike,
    *,
    limits: LimitsLike = None,
    preset: str | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Embed a golden file's texts again, and compare: have the embeddings changed?

    `embedder`, `limits` and `preset` are as in `compare`; the default preset is the golden file's, if it
    has one. Raises EvalError, also for a file that is not a golden file, and the errors of `compare`.

    Example:
        >>> minilmx.check_golden("golden.safetensors", "out").passed
        True
    """
    kept = golden if isinstance(golden, Golden) else read_golden(Path(golden))
    inputs = Inputs(kept.name, kept.record.texts)
    preset = preset or kept.record.preset
    return compare_sides([kept, side_of(embedder)], inputs, limit_rules(limits), preset, progress)
