"""The runner `groq`: a program that is loaded on a GroqCard and runs batch after batch."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.arguments import require_choice, require_count
from minilmx.files.scratch import private_folder
from minilmx.models.artifact import Artifact
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.progress import Progress
from minilmx.runners.base import SDK_CALL_SECONDS, Batch, Details, Runner, RunnerEntry
from minilmx.runners.groq.bridge import CALL_SECONDS, LOADING_SECONDS, Worker
from minilmx.runners.groq.build import build_artifact
from minilmx.runners.groq.bundle import unpack_bundle
from minilmx.runners.groq.cache import BUILD_NAME, CAUTION, Build, run_logs
from minilmx.runners.groq.cards import CardPool
from minilmx.runners.groq.doctor import missing_to_run
from minilmx.runners.groq.environment import clean_variables, find_environment, require_environment
from minilmx.runners.groq.machine import DEVTOOLS, RUNTIME, find_cards, find_runtime, package_version
from minilmx.runners.groq.runtime import require_runtime_python

GROQFLOW = "groqflow"
ALL = "all"
# A message takes about a millisecond on its way to the worker and back (benchmarks/groq_bridge.py), which is
# more than a card takes for one text of MiniLM.
_BATCHES_PER_CALL = 8


@dataclass(frozen=True, slots=True)
class GroqOptions:
    """`bundle` is a build from another machine. `groq_execution` is "held" (the program is loaded once)
    or "groqflow" (GroqFlow's own path, which loads it once per batch). `cards` is how many of the machine's
    cards run batches at the same time, or "all".
    """

    bundle: Path | None = None
    groq_execution: str = "held"
    cards: int | str = 1

    def __post_init__(self) -> None:
        if self.cards != ALL:
            require_count("cards", self.cards)  # type: ignore[arg-type] # it refuses another string
        if self.bundle is not None:
            object.__setattr__(self, "bundle", Path(self.bundle))  # it may be a string
        require_choice("groq_execution", self.groq_execution, ("held", GROQFLOW))


class GroqRunner(Runner):
    """One worker process per card, with the program loaded once; closing it frees the cards."""

    name = "groq"

    def __init__(
        self,
        build: Build,
        execution: str,
        cards: int,
        resources: ExitStack,
        progress: Progress,
        output: str,
    ) -> None:
        """Load the program on so many cards. `resources` is closed with the runner; `output` is the
        program's output that `run` returns. Raises RunnerFailed.
        """
        self._build = build
        self._output = output
        self._execution = execution
        self._resources = resources
        self._program_seconds: list[float] = []  # an item per batch
        self.batches_per_call = 1 if execution == GROQFLOW else _BATCHES_PER_CALL
        call_seconds = CALL_SECONDS + (LOADING_SECONDS if execution == GROQFLOW else 0)
        self._cards = resources.enter_context(
            CardPool(
                lambda log: start_program(build, execution, log, [output]),
                run_logs(cards),
                call_seconds,
                progress,
            )
        )
        self._ready = self._cards.load()
        self.concurrency = len(self._ready)

    @property
    def details(self) -> Details:
        """Chips, cards that are left, load time, and the latencies of one batch."""
        details: dict[str, str | int | float] = {
            "execution": self._execution,
            "runtime_python": str(self._cards.python),
            **self._build.details,
            "cards": self._cards.left,
            "load_seconds": max(float(ready["load_seconds"]) for ready in self._ready),
            "program_seconds": sum(self._program_seconds),
        }
        # On GroqFlow's own path, a call starts a process and loads the program.
        measured = self._program_seconds if self._execution != GROQFLOW else []
        if measured:
            details[SDK_CALL_SECONDS] = sum(measured) / len(measured)
        if self.is_emulated:
            details["caution"] = CAUTION
        return details

    @property
    def is_emulated(self) -> bool:
        """Whether the tests' stand-in for the SDK made or runs the program."""
        return self._build.is_stand_in or "standin" in self.versions["sdk"]

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the SDK and of GroqFlow."""
        return {
            "sdk": str(self._ready[0].get("sdk") or self._build.sdk or "unknown"),
            "groqflow": str(self._build.facts["versions"].get("groqflow")),
        }

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The output, float32: sentence_embedding is [B, D]; from any card. Raises RunnerFailed."""
        return self.run_all([batch])[0]

    def run_all(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """The output for each batch, all from the same card, in one message. Raises RunnerFailed."""
        seconds, answers = self._cards.call([batch.feeds() for batch in batches])
        self._program_seconds += [seconds / len(batches)] * len(batches)
        return [outputs[self._output] for outputs in answers]

    def close(self) -> None:
        """End the workers and delete temporary files."""
        self._resources.close()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()
        if error is None:
            for log in self._cards.logs:
                with suppress(OSError):  # the embeddings are there, and a log does no harm
                    log.unlink()


def start_program(build: Build, execution: str, log: Path, outputs: list[str] | None) -> Worker:
    """The worker that runs a build: on the held program, or on GroqFlow's own path.

    It returns the named `outputs` as float32; of the held program, None is all, with their own types. Raises
    RunnerUnavailable and RunnerFailed.
    """
    runtime = find_runtime()
    if execution == GROQFLOW:
        environment = require_environment()
        job = {
            "verb": "groqflow-run",
            "build_name": BUILD_NAME,
            "cache_dir": str(build.folder),
            "outputs": outputs,
            "onnx_sha256": build.facts["onnx_sha256"],
            "output_names": build.facts["output_names"],
            "chips_used": build.facts["chips"],
        }
        python, variables = environment.python, environment.variables()
    else:
        job = {"verb": "execute", "iop": str(build.program), "outputs": outputs}
        python, variables = require_runtime_python(runtime, find_environment()), clean_variables()
    if runtime is not None:
        job["runtime_path"] = str(runtime)
    return Worker(python, job, log, variables)


def _copy(build: Build, folder: Path) -> Build:
    """A copy for one run, because GroqFlow writes inputs and outputs beside the program under fixed names.

    Two runs of the same folder would read each other's embeddings.
    """
    for name, path in build.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    return replace(build, folder=folder)


def open_groq_runner(
    artifact: Artifact, options: GroqOptions, progress: Progress, output: str = SENTENCE_EMBEDDING
) -> GroqRunner:
    """Build or unpack the artifact's graph and load it; `run` returns the `output` of the graph.

    Raises RunnerUnavailable or RunnerFailed.
    """
    with ExitStack() as guard:  # closes everything unless the runner takes it over
        resources = guard.enter_context(ExitStack())
        if options.bundle is not None:
            runtime = package_version(RUNTIME)
            build = unpack_bundle(options.bundle, artifact, runtime, _temporary_folder(resources))
        else:
            build = build_artifact(artifact, progress=progress)
            if options.groq_execution == GROQFLOW:
                build = _copy(build, _temporary_folder(resources))
        cards = (find_cards().listed or 1) if options.cards == ALL else int(options.cards)
        runner = GroqRunner(build, options.groq_execution, cards, resources, progress, output)
        guard.pop_all()
    return runner


def _missing(options: GroqOptions) -> str | None:
    """What this machine lacks for a run with these options, or None."""
    lacking = missing_to_run(from_bundle=options.bundle is not None)
    if lacking is not None or options.cards == 1:
        return lacking
    listed = find_cards().listed
    if options.groq_execution == GROQFLOW:
        return f"cards: {options.cards}; expected 1, because GroqFlow's own path holds no program"
    if listed is None:
        unknown = "how many cards there are is unknown, as lspci does not run here"
        return f"cards: {ALL}; {unknown}; expected a number" if options.cards == ALL else None
    if options.cards != ALL and int(options.cards) > listed:
        return f"cards: {options.cards}; expected at most the {listed} that lspci lists"
    return None


def _temporary_folder(resources: ExitStack) -> Path:
    return resources.enter_context(private_folder("minilmx-groq-")).resolve()


ENTRY = RunnerEntry(
    "groq",
    "the fixed graph on a GroqCard, compiled by GroqFlow from the artifact's own ONNX",
    _missing,
    open_groq_runner,
    GroqOptions,
    scores=False,  # the check of a build measures embeddings
    versions=lambda options: {name: package_version(name) or "unknown" for name in (DEVTOOLS, RUNTIME)},
)
