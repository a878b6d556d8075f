"""Builds, jobs and tests for the GroqCard."""

from pathlib import Path

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.api.export import export_model
from minilmx.arguments import require_count
from minilmx.embedding.standalone import STANDALONE, write_folder
from minilmx.eval.datasets.pairs import load_pairs, require_limit
from minilmx.eval.proof_point import PROOF_SHAPE, Reproduction, reproduce, require_proof_artifact
from minilmx.files.atomic import check_folder_writable, check_writable
from minilmx.files.formats import BY_NAME
from minilmx.files.texts import open_texts
from minilmx.progress import SILENT, Progress
from minilmx.runners.groq.build import build_artifact
from minilmx.runners.groq.bundle import write_bundle
from minilmx.runners.groq.cache import Build, CompilerOptions
from minilmx.runners.groq.doctor import MachineCheck
from minilmx.runners.groq.job import build_job, run_job
from minilmx.runners.groq.selftest import run_selftest
from minilmx.runners.registry import AUTO, choose_graph, require_runner


def build_for_groq(
    artifact: ArtifactLike,
    bundle: Path | str | None = None,
    *,
    graph: str = AUTO,
    effort: str = "standard",
    groqview: bool = False,
    power: bool = False,
    time_limit_seconds: float = 3600.0,
    replace: bool = False,
    progress: Progress = SILENT,
) -> Build:
    """Build an artifact's graph for a GroqCard with GroqFlow, or take its build from the cache.

    `bundle` is a file to also write the build to, for the machine with the card; `graph` is "auto" (the
    packed graph if the artifact has it), "fixed" or "packed". `effort` is that of Groq's compiler, "standard"
    or "high"; `groqview` also writes the folder that Groq's viewer opens; with `power` the compiler also
    analyses power and utilization. Each of them makes a build of its own, which runs as a bundle: a run that
    names no bundle takes the build without them. `replace` builds again, and replaces the bundle if it
    exists. Raises ValueError for another effort, ArtifactError, OutputError, RunnerUnavailable if GroqFlow is
    not installed, and RunnerFailed if the build fails.

    Example:
        >>> build_for_groq("out", "minilm.tar").facts["chips"]
        1
    """
    options = CompilerOptions(effort, groqview, power)
    target = None if bundle is None else Path(bundle)
    if target is not None:
        check_writable(target, replace=replace)
    chosen = choose_graph(resolve_artifact(artifact), "groq", graph)
    build = build_artifact(
        chosen,
        options=options,
        time_limit_seconds=time_limit_seconds,
        rebuild=replace,
        progress=progress,
    )
    if target is not None:
        write_bundle(build, chosen, target, replace=replace)
    return build


def groq_build_job(
    artifact: Path | str, bundle: Path | str, *, scheduler: str = "pbs", graph: str = AUTO
) -> str:
    """A batch script that builds an artifact on one node and writes the bundle; it is not started.

    `scheduler` is "pbs" (a whole node, as at ALCF) or "slurm". Nothing is read, and paths are kept as they
    are: relative ones are in the folder from which the job is submitted. Raises ValueError for another
    scheduler.

    Example:
        >>> groq_build_job("out", "minilm.tar").splitlines()[1]
        '#PBS -l select=1,place=excl'
    """
    return build_job(scheduler, Path(artifact), Path(bundle), graph)


def groq_run_job(
    artifact: Path | str,
    bundle: Path | str,
    source: Path | str,
    embeddings: Path | str,
    *,
    column: str | None = None,
    scheduler: str = "pbs",
    graph: str = AUTO,
) -> str:
    """A batch script that embeds the file `source` into `embeddings` with a bundle on the card's node.

    As `groq_build_job`; with "slurm" the job asks for one card, as at ORNL.

    Example:
        >>> script = groq_run_job("out", "minilm.tar", "texts.txt", "card.npy", scheduler="slurm")
        >>> script.splitlines()[1]
        '#SBATCH --gres=groq:card:1'
    """
    return run_job(scheduler, Path(artifact), Path(bundle), str(source), Path(embeddings), column, graph)


def groq_standalone(
    artifact: ArtifactLike,
    bundle: Path | str,
    source: Path | str,
    folder: Path | str,
    *,
    column: str | None = None,
    graph: str = AUTO,
    replace: bool = False,
) -> int:
    """Write the card's side of a run as a folder that needs nothing of minilmx; returns the number of texts.

    The folder has the bundle, the token batches of the texts in `source`, and run.py, which needs numpy
    below 2 and Groq's runtime. What it writes is a run for `compare`. Raises ArtifactError, DatasetError,
    OutputError, and RunnerFailed for a bundle of another artifact or graph.

    Example:
        >>> groq_standalone("out", "minilm.tar", "sentences.txt", "to-the-card")
        2
    """
    check_folder_writable(Path(folder), replace=STANDALONE if replace else None)
    chosen = choose_graph(resolve_artifact(artifact), "groq", graph)
    texts = open_texts(str(source), column, BY_NAME, "error")
    return write_folder(chosen, Path(bundle), texts, Path(folder), replace=replace)


def reproduce_groq(
    artifact: ArtifactLike | None = None,
    dataset: Path | str = "stsb",
    *,
    limit: int | None = None,
    bundle: Path | str | None = None,
    progress: Progress = SILENT,
) -> Reproduction:
    """Run Groq's own proof point of all-MiniLM-L6-v2 on a GroqCard, and embed its sentences on the CPU.

    As Groq does: batches of one pair at [2, 128], pairs over 128 tokens dropped, `last_hidden_state`
    pooled on the host, scipy's Spearman correlation. The CPU runs the dynamic-shape graph. Without an
    `artifact`, all-MiniLM-L6-v2 is exported with a bool mask to all-MiniLM-L6-v2-b2-s128-bool here, or
    reused if it exists. `dataset` is as in `evaluate`, by default Groq's; `limit` keeps its first pairs.
    `bundle` is a build of another machine. Raises EvalError for another artifact than the proof point's,
    RunnerUnavailable without a GroqCard, RunnerFailed, DatasetError, ArtifactError, and what
    `export_model` raises.

    Example:
        >>> found = reproduce_groq("all-MiniLM-L6-v2-b2-s128-bool", "bundled", limit=2)
        >>> found.pairs, found.dropped
        (2, 0)
    """
    require_count("limit", limit)
    build = None if bundle is None else Path(bundle)
    if artifact is not None:
        artifact = resolve_artifact(artifact)
        require_proof_artifact(artifact)
    require_runner("groq", bundle=build)  # before a download or an export
    pairs = load_pairs(str(dataset), limit=limit, progress=progress)
    require_limit(pairs, limit)
    if artifact is None:
        size, length = PROOF_SHAPE.batch_size, PROOF_SHAPE.sequence_length
        artifact = export_model(batch_size=size, sequence_length=length, mask="bool", progress=progress)
        progress.message(f"artifact: {artifact.path}")
    return reproduce(artifact, pairs, build, progress)


def selftest_groq(*, progress: Progress = SILENT) -> list[MachineCheck]:
    """Compile two small graphs, fixed and packed, with GroqFlow, and call each 100 times on the GroqCard.

    They are of a shipped BERT of one layer with random weights, and have the operators of a real model's
    graphs. The checks answer whether they compile, the types that the program takes and gives, whether its
    results repeat bit by bit, the milliseconds per call, and the error against the CPU. Raises
    RunnerUnavailable if this machine cannot build for a card and run on it.

    Example:
        >>> [check.name for check in selftest_groq() if not check.ok]
        []
    """
    require_runner("groq")
    return run_selftest(progress)
