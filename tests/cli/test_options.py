"""Every option of every command changes what happens, or is refused in one sentence with exit code 2."""

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from tests.conftest import MakeOnce, Mlx, run_mlx

from minilmx.cli import cli
from minilmx.eval.metrics.table import LIMITED, Better
from minilmx.models.artifact import Artifact

Words = tuple[str, ...]
TESTS = Path(__file__).parents[1]
LIMITS = {"--" + name.replace("_", "-"): metric for name, metric in LIMITED.items()}

PAIR = ("--runner", "onnxruntime", "--runner", "groq-emulator")
ALONE = ("eval", "tiny", "--runner", "onnxruntime")
EVAL = (*ALONE, "--limit", "9")
BOTH = ("eval", "tiny", "--limit", "9", *PAIR)
RUN = ("run", "tiny", "texts.txt", "-o", "out.jsonl")
CSV = ("run", "tiny", "two.csv", "-o", "out.jsonl")
SHARDS = ("run", "tiny", "two.csv", "--column", "a", "-o", "shards/")
COMPARE = ("compare", "a.npy", "b.npy")
REPORT = ("report", "r.json")
GOLDEN = ("golden", "create", "g", "--from", "tiny", "--texts", "texts.txt")
CHECK = ("golden", "check", "g.golden", "tiny@groq-emulator")
JOB = ("groq", "job", "tiny", "--bundle", "b.tar")
BENCH = ("bench", "tiny", "texts.txt", "--rounds", "1", "--graph", "dynamic")
EXPORT = ("export", "model", "--from-onnx", "--sequence-length", "16", "-o", "made")
BISECT = ("bisect", "tiny", "--candidate", "groq-emulator")

# Of each option a command, the option, and what happens with it alone: words in the output, an exit code, or
# a file. A reason in place of words is a test that shows it with the hardware or the library that it needs.
EFFECTS: dict[tuple[str, str], tuple[Words, Words, str]] = {
    ("groq job", "--scheduler"): ((*JOB, "--scheduler", "pbs"), ("--scheduler", "slurm"), "#SBATCH"),
    ("groq job", "--embeddings"): ((*JOB, "t.txt", "--scheduler", "pbs"), ("--embeddings", "e.npy"), "e.npy"),
    ("groq job", "--column"): ((*JOB, "two.csv", "--scheduler", "pbs"), ("--column", "a"), "--column=a"),
    ("groq job", "--output"): ((*JOB, "--scheduler", "pbs"), ("-o", "build.sh"), "build.sh"),
    ("groq job", "--force"): ((*JOB, "--scheduler", "pbs", "-o", "texts.txt"), ("--force",), "exit 0"),
    ("groq job", "--graph"): ((*JOB, "--scheduler", "pbs"), ("--graph", "packed"), "--graph packed"),
    ("export", "--output"): (EXPORT[:-2], ("-o", "made"), "made/mlx.json"),
    ("export", "--batch-size"): (EXPORT, ("--batch-size", "2"), "batch size 2"),
    ("export", "--sequence-length"): (
        (*EXPORT[:3], "-o", "made"), ("--sequence-length", "9"), "sequence length 9"),
    ("export", "--dimension"): (EXPORT, ("--dimension", "4"), "the first 4 of the model's 8 numbers"),
    ("export", "--from-onnx"): ((*EXPORT[:2], *EXPORT[3:]), ("--from-onnx",), "exit 0"),
    ("export", "--precision"): (EXPORT, ("--precision", "int8"), "int8"),
    ("export", "--fixed-consumers"): (EXPORT, ("--fixed-consumers",), "made/fixed"),
    ("export", "--force"): ((*EXPORT[:-1], "full"), ("--force",), "so it is not replaced"),
    ("run", "--runner"): (RUN, ("--runner", "groq-emulator"), "with groq-emulator"),
    ("run", "--column"): (CSV, ("--column", "a"), "exit 0"),
    ("run", "--text-columns"): (CSV, ("--text-columns", "a", "b"), "is for a cross-encoder"),
    ("run", "--output"): (("run", "tiny", "texts.txt"), ("-o", "out.npy"), "out.npy"),
    ("run", "--force"): (("run", "tiny", "texts.txt", "-o", "a.npy"), ("--force",), "exit 0"),
    ("run", "--on-empty"): (("run", "tiny", "gap.csv", "--column", "a"), ("--on-empty", "skip"), "exit 0"),
    ("run", "--input-format"): ((*RUN[:2], "texts.log"), ("--input-format", "txt"), "exit 0"),
    ("run", "--delimiter"): (("run", "tiny", "bar.csv", "--column", "a"), ("--delimiter", "|"), "exit 0"),
    ("run", "--quoting"): (
        ("run", "tiny", "quote.csv", "--column", "a"), ("--quoting", "none"), "3 sentences"),
    ("run", "--graph"): (RUN, ("--graph", "fixed"), "fixed graph"),
    ("run", "--id"): (SHARDS, ("--id", "b"), "column b: string\ncolumn embedding"),
    ("run", "--keep-text"): (SHARDS, ("--keep-text",), "column text: string"),
    ("run", "--shard-rows"): (SHARDS, ("--shard-rows", "1"), "to 2 shards"),
    ("run", "--dtype"): (SHARDS, ("--dtype", "float16"), "element: halffloat"),
    ("eval", "--runner"): (("eval", "tiny", "--limit", "9"), PAIR[:2], "one runner: nothing to compare"),
    ("eval", "--dataset"): (ALONE, ("--dataset", "pairs.csv"), "pairs.csv: 3 pairs"),
    ("eval", "--split"): ((*ALONE, "--dataset", "split.csv"), ("--split", "b"), "split.csv b: 2 pairs"),
    ("eval", "--text-columns"): ((*ALONE, "--dataset", "named.csv"), ("--text-columns", "x", "y"), "exit 0"),
    ("eval", "--score-column"): ((*ALONE, "--dataset", "score.csv"), ("--score-column", "s"), "exit 0"),
    ("eval", "--input-format"): ((*ALONE, "--dataset", "p.data"), ("--input-format", "csv"), "exit 0"),
    ("eval", "--delimiter"): ((*ALONE, "--dataset", "bars.csv"), ("--delimiter", "|"), "exit 0"),
    ("eval", "--quoting"): ((*ALONE, "--dataset", "q.csv"), ("--quoting", "none"), "q.csv: 3 pairs"),
    ("run", "--prompt"): (RUN, ("--prompt", "query"), "the model has no prompts"),
    ("eval", "--prompt"): (EVAL, ("--prompt", "query"), "the model has no prompts"),
    ("eval", "--limit"): (ALONE, ("--limit", "9"), "9 pairs"),
    ("eval", "--preset"): (BOTH, ("--preset", "float32"), "(preset float32: as requested)"),
    ("eval", "--limits"): (BOTH, ("--limits", "limits.toml"), "limits: FAIL"),
    ("eval", "--output"): (EVAL, ("-o", "new.json"), "new.json"),
    ("eval", "--force"): ((*EVAL, "-o", "r.json"), ("--force",), "exit 0"),
    ("eval", "--json"): (EVAL, ("--json",), '"schema_version"'),
    ("eval", "--graph"): ((*EVAL, "--json"), ("--graph", "packed"), "exit 3"),
    ("eval", "--threads"): ((*EVAL, "--json", "--graph", "fixed"), ("--threads", "1"), '"threads": 1'),
    ("eval", "--graph-optimization"): (
        (*EVAL, "--json"), ("--graph-optimization", "basic"), '"graph_optimization": "basic"'),
    ("compare", "--texts"): (
        ("compare", "tiny", "tiny"), ("--texts", "texts.txt"), "texts.txt: 2 embeddings"),
    ("compare", "--column"): (
        ("compare", "tiny", "tiny", "--texts", "two.csv"), ("--column", "a"), "exit 0"),
    ("compare", "--sample"): (
        ("compare", "tiny", "tiny", "--texts", "texts.txt"), ("--sample", "1"), "1 of 2 texts"),
    ("compare", "--keep-text"): (
        ("compare", "tiny", "tiny", "--texts", "texts.txt", "--json"), ("--keep-text",), '"text": "b"'),
    ("compare", "--dataset"): (("compare", "tiny", "tiny"), ("--dataset", "pairs.csv"), "pairs.csv: 3 pairs"),
    ("compare", "--preset"): (COMPARE, ("--preset", "int8"), "(preset int8: as requested)"),
    ("compare", "--limits"): (COMPARE, ("--limits", "limits.toml"), "limits: FAIL"),
    ("compare", "--output"): (COMPARE, ("-o", "new.json"), "new.json"),
    ("compare", "--force"): ((*COMPARE, "-o", "r.json"), ("--force",), "result: r.json"),
    ("compare", "--json"): (COMPARE, ("--json",), '"schema_version"'),
    ("golden create", "--from"): (
        GOLDEN[:3] + GOLDEN[5:], ("--from", "tiny"), "g: 2 texts, 8 numbers each"),
    ("golden create", "--texts"): (GOLDEN[:5], ("--texts", "texts.txt"), "g: 2 texts"),
    ("golden create", "--column"): ((*GOLDEN[:6], "two.csv"), ("--column", "a"), "exit 0"),
    ("golden create", "--preset"): (GOLDEN, ("--preset", "int4"), "exit 2"),
    ("golden create", "--force"): (("golden", "create", "r.json", *GOLDEN[3:]), ("--force",), "exit 0"),
    ("golden check", "--preset"): (CHECK, ("--preset", "int8"), "(preset int8: as requested)"),
    ("golden check", "--limits"): (CHECK, ("--limits", "limits.toml"), "limits: FAIL"),
    ("golden check", "--output"): (CHECK, ("-o", "new.json"), "new.json"),
    ("golden check", "--force"): ((*CHECK, "-o", "r.json"), ("--force",), "result: r.json"),
    ("golden check", "--json"): (CHECK, ("--json",), '"schema_version"'),
    ("report", "--format"): (REPORT, ("--format", "html"), "<!doctype html>"),
    ("report", "--output"): (REPORT, ("-o", "new.html"), "new.html"),
    ("report", "--force"): ((*REPORT, "-o", "texts.txt"), ("--force",), "report: texts.txt"),
    ("report", "--preset"): (REPORT, ("--preset", "int8"), "(preset int8: as requested)"),
    ("report", "--limits"): (REPORT, ("--limits", "limits.toml"), "limits: FAIL"),
    ("bench", "--column"): (("bench", "tiny", "two.csv", *BENCH[3:]), ("--column", "a"), "exit 0"),
    ("bench", "--runner"): (BENCH[:5], ("--runner", "groq-emulator"), "groq-emulator fixed"),
    ("bench", "--graph"): (BENCH[:5], ("--graph", "packed"), "exit 3"),
    ("bench", "--rounds"): (BENCH, ("--rounds", "2"), "2 rounds"),
    ("bench", "--output"): (BENCH, ("-o", "new.json"), "new.json"),
    ("bench", "--force"): ((*BENCH, "-o", "r.json"), ("--force",), "exit 0"),
    ("bench", "--json"): (BENCH, ("--json",), '"schema_version"'),
    ("bench", "--threads"): ((*BENCH, "--json"), ("--threads", "7"), '"threads": 7'),
    ("bench", "--graph-optimization"): (
        (*BENCH, "--json"), ("--graph-optimization", "basic"), '"graph_optimization": "basic"'),
    ("inspect", "--json"): (("inspect", "tiny"), ("--json",), '"verified": true'),
    ("inspect", "--snippet"): (("inspect", "tiny"), ("--snippet", "onnxruntime"), "def embed"),
    ("check", "--json"): (("check", "tiny", "--consumer", "onnxruntime"), ("--json",), '"state": "agrees"'),
    ("groq doctor", "--json"): (("groq", "doctor"), ("--json",), '"ok": '),
    ("models", "--json"): (("models",), ("--json",), '"revision": '),
    ("runners", "--json"): (("runners",), ("--json",), '"missing": '),
}  # fmt: skip

# Options whose effect a test shows elsewhere, on what it needs: a real model, a library, a card's stand-in.
# A test through the Python API has the parameter in place of the option.
ELSEWHERE = {
    ("compare", "--queries"): "eval/test_search.py::test_artifacts_are_compared_on_a_search",
    ("compare", "--corpus"): "eval/test_search.py::test_artifacts_are_compared_on_a_search",
    ("compare", "--qrels"): "eval/test_search.py"
    "::test_neighbours_and_relevance_equal_an_independent_computation",
    ("export", "--revision"): "models/test_hub.py::test_a_revision_that_was_asked_for_is_never_replaced",
    ("export", "--opset"): "export/test_family.py::test_each_opset_is_kept_and_changes_no_embedding",
    ("export", "--pooling"): "export/test_folder_layouts.py::test_the_command_line_takes_the_pooling",
    ("export", "--pack"): "export/test_packed.py::test_other_models_can_be_packed",
    ("push", "--result"): "models/test_hub_artifact.py::test_a_card_may_be_edited_and_states_a_result",
    ("run", "--engine"): "cli/test_scale.py::test_the_artifact_is_sent_to_an_existing_cluster",
    ("run", "--workers"): "cli/test_scale.py::test_the_bytes_do_not_depend_on_workers_or_their_threads",
    ("run", "--ray-address"): "cli/test_scale.py::test_the_artifact_is_sent_to_an_existing_cluster",
    ("run", "--cpus-per-worker"): "cli/test_scale.py::test_an_error_with_ray_is_one_line",
    ("run", "--format"): "cli/test_lance.py::test_the_dataset_holds_the_same_rows_as_the_parquet_shards",
    ("groq job", "--standalone"): "runners/groq/test_jobs.py"
    "::test_for_no_texts_or_no_bundle_no_folder_is_written",
    ("run", "--threads"): "cli/test_run.py::test_the_record_next_to_an_output_describes_the_run",
    ("run", "--precision"): "runners/test_openvino.py::test_each_graph_agrees_with_onnxruntime",
    ("run", "--graph-optimization"): "cli/test_scale.py"
    "::test_a_folder_with_other_settings_is_refused_and_unchanged",
    ("run", "--device"): "runners/test_devices.py"
    "::test_a_provider_that_is_not_there_is_refused_with_its_package",
    ("run", "--device-option"): "runners/test_devices.py::test_a_plugin_that_takes_no_node_is_a_failure",
    ("run", "--model"): "cli/test_run.py::test_the_torch_runner_reads_the_folder_that_is_named",
    ("eval", "--bundle"): "runners/groq/test_bundles.py::test_eval_runs_a_bundle",
    ("eval", "--cards"): "runners/groq/test_cards.py::test_eval_runs_on_several_cards",
    ("run", "--groq-execution"): "runners/groq/test_running.py"
    "::test_the_held_program_and_groqflows_own_path_give_equal_embeddings",
    ("groq build", "--time-limit"): "runners/groq/test_builds.py::test_a_build_that_takes_too_long_is_ended",
    ("groq build", "--force"): "runners/groq/test_builds.py::test_force_builds_again",
    ("groq build", "--graph"): "runners/groq/test_packed.py"
    "::test_packing_takes_eight_and_a_half_times_fewer_runs_of_the_program",
    ("groq setup", "--size"): "runners/groq/test_setup.py::test_the_size_decides_what_is_installed",
    ("groq setup", "--prefix"): "runners/groq/test_setup.py::test_setup_creates_an_environment_that_builds",
    ("groq setup", "--python"): "runners/groq/test_setup.py::test_setup_creates_an_environment_that_builds",
    ("check", "--consumer"): "cli/test_check.py::test_onnxruntime_agrees_with_the_artifact",
    ("check", "--node-modules"): "consumers/test_consumers.py::test_transformers_js_agrees",
    ("report", "--runner"): "eval/reports/test_mteb.py::test_one_of_several_runners_must_be_named",
    ("eval", "--language"): "cli/test_eval.py::test_the_language_chooses_that_of_the_data_set",
    ("eval", "--ladder"): "cli/test_eval.py::test_the_ladder_is_printed_below_the_table",
    ("groq build", "--effort"): "runners/groq/test_builds.py"
    "::test_the_compilers_flags_make_a_build_of_their_own",
    ("groq build", "--groqview"): "runners/groq/test_builds.py"
    "::test_the_compilers_flags_make_a_build_of_their_own",
    ("groq build", "--power"): "runners/groq/test_builds.py"
    "::test_the_compiler_analyses_power_in_a_build_of_its_own",
    ("groq doctor", "--deep"): "runners/groq/test_selftest.py::test_the_deep_doctor_has_the_answers_too",
    ("groq reproduce", "--dataset"): "runners/groq/test_reproduce.py"
    "::test_without_an_artifact_the_proof_points_own_is_exported_or_used",
    ("groq reproduce", "--limit"): "runners/groq/test_reproduce.py"
    "::test_without_an_artifact_the_proof_points_own_is_exported_or_used",
    ("export", "--mask"): "export/test_mask.py"
    "::test_only_the_fixed_graph_takes_a_bool_mask_and_the_manifest_says_so",
    ("eval", "--from"): "eval/test_saved.py::test_the_old_option_names_its_replacement",
    ("run", "--time-limit"): "cli/test_interrupts.py::test_a_time_limit_ends_a_graph_that_never_ends",
    ("eval", "--time-limit"): "cli/test_interrupts.py::test_a_time_limit_ends_a_graph_that_never_ends",
    ("check", "--time-limit"): "cli/test_check.py::test_a_consumer_that_fails_is_reported_in_one_clear_line",
    ("check", "--python"): "cli/test_check.py::test_bad_arguments_are_refused",
    ("groq build", "--bundle"): "runners/groq/test_bundles.py::test_the_same_build_gives_the_same_bundle",
    ("groq job", "--bundle"): "runners/groq/test_jobs.py"
    "::test_for_no_texts_or_no_bundle_no_folder_is_written",
    ("groq reproduce", "--bundle"): "runners/groq/test_reproduce.py"
    "::test_without_an_artifact_the_proof_points_own_is_exported_or_used",
}
# The options of runners, each with a value and a runner that lacks it. ELSEWHERE has what they do.
SETTINGS = {
    "--threads": ("2", "groq"),
    "--precision": ("bf16", "onnxruntime"),
    "--graph-optimization": ("all", "groq-emulator"),
    "--device": ("cuda", "groq-emulator"),
    "--device-option": ("a=b", "groq-emulator"),
    "--model": (".", "onnxruntime"),
    "--bundle": ("texts.txt", "onnxruntime"),
    "--groq-execution": ("held", "onnxruntime"),
    "--cards": ("2", "onnxruntime"),
}
TAKE_SETTINGS = ("run", "eval", "bench")
# What the Python API calls an option, if not by the same name.
PARAMETERS = {"--pack": "segments", "--format": "LANCE"}
# Those of `mlx bisect`, which needs a model with layers.
BISECTED = "cli/test_bisect_command.py"

# What changes nothing, and the start of the sentence that says so.
REFUSED: tuple[tuple[Words, str], ...] = (
    ((*RUN[:3], "--force"), "--force replaces the output"),
    ((*EVAL, "--force"), "--force replaces the output"),
    ((*COMPARE, "--force"), "--force replaces the output"),
    ((*REPORT, "--force"), "--force replaces the output"),
    ((*BENCH, "--force"), "--force replaces the output"),
    ((*BISECT, "--force"), "--force replaces the output"),
    *(
        ((*RUN, *words), f"{words[0]} needs an output folder")
        for words in (
            ("--id", "b"), ("--keep-text",), ("--format", "lance"), ("--dtype", "float16"),
            ("--shard-rows", "9"), ("--workers", "2"), ("--engine", "ray"),
            ("--ray-address", "auto"), ("--cpus-per-worker", "2"),
        )
    ),
    ((*SHARDS, "--ray-address", "auto"), "ray_address: 'auto' with the engine local"),
    ((*SHARDS, "--cpus-per-worker", "2"), "cpus_per_worker: 2 with the engine local"),
    ((*RUN, "--column", "a"), "texts.txt is a text file, which has no columns"),
    ((*RUN, "--delimiter", "|"), "a delimiter is only for CSV and TSV files"),
    ((*RUN, "--quoting", "none"), "a quoting is only for CSV and TSV files"),
    ((*RUN, "--device-option", "a=b"), "the options of a device: a=b; expected none for the device cpu"),
    ((*ALONE, "--language", "de"), "a language cannot be chosen for bundled"),
    ((*ALONE, "--dataset", "pairs.csv", "--language", "de"), "a language cannot be chosen for pairs.csv"),
    ((*ALONE, "--dataset", "pairs.csv", "--split", "dev"), "a split cannot be chosen for pairs.csv"),
    ((*ALONE, "--split", "dev"), "a split cannot be chosen for bundled"),
    ((*ALONE, "--input-format", "csv"), "a format is only for files"),
    ((*ALONE, "--limit", "1000"), "bundled: 208 pairs, fewer than the limit of 1000"),
    ((*BISECT, "--limit", "1000"), "bundled: 208 pairs, fewer than the limit of 1000"),
    ((*COMPARE, "--column", "a"), "the column 'a': no file of texts; expected one"),
    ((*COMPARE, "--sample", "2"), "a sample of 2: no file of texts"),
    ((*COMPARE, "--json", "--keep-text"), "texts to keep: no texts and no queries"),
    ((*COMPARE, "--texts", "texts.txt", "--keep-text"), "--keep-text is for the result: neither saved nor"),
    ((*COMPARE, "--texts", "texts.txt", "--dataset", "pairs.csv"), "texts, a data set and queries: more"),
    ((*COMPARE, "--queries", "q.jsonl"), "a search: no queries or no corpus; expected both"),
    ((*COMPARE, "--qrels", "q.tsv"), "a search: no queries or no corpus"),
    ((*EVAL, "--preset", "int8"), "--preset compares runners: one runner"),
    ((*EVAL, "--max-abs", "1"), "--max-abs compares runners: one runner"),
    ((*EVAL, "--limits", "limits.toml"), "limits: none applies to onnxruntime"),
    ((*BOTH, "--limits", "other.toml"), "limits for the runner 'grok'; expected one of onnxruntime, groq-"),
    ((*BOTH, "--limits", "german.toml"), "limits: none applies to onnxruntime, groq-emulator"),
    ((*BOTH, "--limits", "empty.toml"), "empty.toml: no limits"),
    ((*REPORT, "--runner", "onnxruntime"), "--runner needs --format mteb"),
    ((*REPORT, "s.json", "--max-abs", "1"), "limits and a preset judge one result"),
    ((*REPORT, "s.json", "--preset", "int8"), "limits and a preset judge one result"),
    (("bisect", "tiny", "--candidate", "onnxruntime"), "the candidate: onnxruntime, which is the reference"),
    (("bench", "tiny", "--column", "a"), "the column 'a': no file of texts"),
    (("inspect", "tiny", "--json", "--snippet", "onnxruntime"), "--json is for the manifest"),
    (("check", "tiny", "--consumer", "onnxruntime", "--node-modules", "."), "node_modules to look in: "),
    (
        ("check", "tiny", "--consumer", "transformers-js", "--python", sys.executable),
        "a Python to look in: transformers-js; expected",
    ),
    ((*EXPORT, "--pack", "2"), "a packed graph: made from an ONNX file"),
    ((*EXPORT, "--mask", "bool"), "a bool mask: made from an ONNX file"),
    ((*EXPORT, "--opset", "15"), "model/onnx/model.onnx: opset 16"),
    ((*EXPORT, "--revision", "main"), "revision 'main': model is a folder"),
)  # fmt: skip


def leaves(command: click.Command, words: Words = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*words, name))
    else:
        yield " ".join(words), command


OPTIONS = [
    (name, parameter.opts[0])
    for name, command in leaves(cli)
    for parameter in command.params
    if isinstance(parameter, click.Option)
]


@pytest.fixture(scope="session")
def saved(tiny_original: Artifact, make_once: MakeOnce) -> Path:
    """A folder with the result of BOTH, and the golden file of GOLDEN: made once."""

    def make(folder: Path) -> None:
        words = (tiny_original.path, "--limit", "9", *PAIR, "-o", folder / "r.json")
        assert run_mlx("eval", *words).code == 0
        (folder / "texts.txt").write_text("a\nb\n")
        source = ("--from", tiny_original.path, "--texts", folder / "texts.txt")
        assert run_mlx("golden", "create", folder / "g.golden", *source).code == 0

    return make_once("saved", make)


@pytest.fixture(scope="module")
def alone() -> dict[Words, str]:
    """What commands left without the option, by their words: some options share a command."""
    return {}


@pytest.fixture
def files(mlx: Mlx, tiny: Path, tiny_folder: Path, saved: Path, tmp_path: Path) -> Path:
    """Small inputs of every kind, beside a tiny artifact and its model."""
    tiny.rename(tmp_path / "tiny")
    (tmp_path / "model").symlink_to(tiny_folder)
    rows = "a b,b a,1\nc d,d e,2\nf,g,3\n"
    quoted = 'a,b\n"x,1\ny,2\nz",3\n'
    texts = {
        "texts.txt": "a\nb\n",
        "texts.log": "a\nb\n",
        "two.csv": "a,b\nx,1\ny,2\n",
        "gap.csv": "a,b\nx,1\n,2\n",
        "bar.csv": "a|b;c\nx|1;2\n",
        "quote.csv": quoted,
        "pairs.csv": f"sentence1,sentence2,score\n{rows}",
        "named.csv": f"x,y,score\n{rows}",
        "score.csv": f"sentence1,sentence2,s\n{rows}",
        "p.data": f"sentence1,sentence2,score\n{rows}",
        "bars.csv": "sentence1|sentence2|score\na,|b,|1\nc,|d,|2\n",
        "q.csv": 'sentence1,sentence2,score\n"a,b,1\nc,d,2\ne",f,3\n',
        "split.csv": "sentence1,sentence2,score,split\na,b,1,a\nc,d,2,a\ne,f,1,b\ng,h,2,b\n",
        "limits.toml": "[default]\nmax_relative = 1e-12\n",
        "other.toml": "[runner.grok]\nmax_relative = 1\n",
        "german.toml": "[language.de]\nmax_relative = 1\n",
        "empty.toml": "",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    values = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values * np.float32(1.001))
    for name, source in (("r.json", "r.json"), ("s.json", "r.json"), ("g.golden", "g.golden")):
        shutil.copyfile(saved / source, tmp_path / name)
    return tmp_path


def test_every_option_has_an_effect_that_a_test_shows() -> None:
    missing = [
        (command, option)
        for command, option in OPTIONS
        if option not in LIMITS
        and (command, option) not in {**EFFECTS, **ELSEWHERE}
        and not (command in TAKE_SETTINGS and option in SETTINGS)
        and command != "bisect"
    ]
    assert missing == []
    assert {*EFFECTS, *ELSEWHERE} <= set(OPTIONS)
    assert set(SETTINGS) <= {option for _, option in ELSEWHERE}


@pytest.mark.parametrize(("command", "option"), ELSEWHERE)
def test_the_test_of_an_option_exists_and_uses_it(command: str, option: str) -> None:
    file, name = ELSEWHERE[command, option].split("::")
    source = (TESTS / file).read_text("utf-8")
    (test,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    parts = (ast.get_source_segment(source, node) or "" for node in (*test.decorator_list, test))
    parameter = PARAMETERS.get(option, option[2:].replace("-", "_"))
    assert re.search(rf"{option}\b|\b{parameter}\b", "\n".join(parts)), name


@pytest.mark.parametrize("option", SETTINGS)
@pytest.mark.parametrize("command", TAKE_SETTINGS)
def test_an_option_of_another_runner_is_refused(files: Path, mlx: Mlx, command: str, option: str) -> None:
    value, runner = SETTINGS[option]
    outcome = mlx(command, "tiny", *(["texts.txt"] * (command != "eval")), "--runner", runner, option, value)
    assert outcome.code == 2, outcome
    assert f"Error: {option} is not an option of the runner {runner}" in outcome.stderr


def test_the_tests_of_mlx_bisect_use_its_options() -> None:
    source = (TESTS / BISECTED).read_text("utf-8")
    assert [o for command, o in OPTIONS if command == "bisect" and f'"{o}"' not in source] == []


@pytest.mark.parametrize(("command", "option"), EFFECTS)
def test_an_option_changes_what_happens(
    files: Path, mlx: Mlx, alone: dict[Words, str], command: str, option: str
) -> None:
    base, words, effect = EFFECTS[command, option]
    if base not in alone:
        alone[base] = observe(files, mlx, base)
    assert effect not in alone[base]
    assert effect in observe(files, mlx, (*base, *words))


@pytest.mark.parametrize("option", LIMITS)
@pytest.mark.parametrize("base", [REPORT, COMPARE], ids=["report", "compare"])
def test_a_limit_makes_a_build_red(files: Path, mlx: Mlx, base: Words, option: str) -> None:
    impossible = "-1e9" if LIMITS[option].better is Better.LOWER else "1e9"
    outcome = mlx(*base, option, impossible)
    assert outcome.code == 1, outcome
    assert "; limits: FAIL, 0 of " in outcome.stdout.splitlines()[0]
    assert f"{option[2:].replace('-', '_')} {float(impossible):g}" in outcome.stdout


def test_a_limit_of_eval_makes_a_build_red(files: Path, mlx: Mlx) -> None:
    assert mlx(*BOTH, "--max-relative", "-1").code == 1
    options = dict.fromkeys(command for command, option in OPTIONS if option in LIMITS)
    assert list(options) == ["eval", "compare", "report", "golden check"]
    for name in options:
        assert {option for command, option in OPTIONS if command == name} > set(LIMITS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    REFUSED,
    ids=[" ".join(words).replace(sys.executable, "PYTHON") for words, _ in REFUSED],
)
def test_an_option_that_does_nothing_is_refused(files: Path, mlx: Mlx, words: Words, sentence: str) -> None:
    outcome = mlx(*words)
    assert outcome.code == 2, outcome
    assert outcome.stdout == ""
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {sentence}"), last


def observe(folder: Path, mlx: Mlx, words: Words) -> str:
    """Everything that a command left, but for its times: exit code, output, new files and their columns."""
    before = set(folder.rglob("*"))
    outcome = mlx(*words)
    created = sorted(set(folder.rglob("*")) - before)
    seen = [f"exit {outcome.code}", outcome.stdout, outcome.stderr]
    for path in created:
        seen.append(str(path.relative_to(folder)))
        if path.suffix == ".parquet":
            parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
            seen += [f"column {field.name}: {field.type}" for field in parquet.read_schema(path)]
    for path in created:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return "\n".join(seen)
