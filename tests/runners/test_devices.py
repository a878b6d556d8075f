"""The devices of the runner onnxruntime: what ran where, and what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import onnx
import onnxruntime
import pytest
from tests.conftest import MakeModel, Mlx, run_mlx

from minilmx.cli import cli
from minilmx.errors import RunnerError
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
from minilmx.runners.devices import DEVICES
from minilmx.runners.registry import open_runner

ROOT = Path(__file__).parents[2]
TEXTS = ["a cat", "Köln 🐈", "x" * 9, "the committee postponed its decision"]
# Chromium brings a Vulkan that runs on the CPU, and its loader.
CHROMIUM = Path("/usr/lib/chromium")
SOFTWARE_VULKAN = {
    "VK_ICD_FILENAMES": str(CHROMIUM / "vk_swiftshader_icd.json"),
    "LD_LIBRARY_PATH": str(CHROMIUM),
    "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
}
NOWHERE = {"VK_ICD_FILENAMES": "", "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": ""}


@dataclass(frozen=True)
class Place:
    """An environment of tests/runners/environments.sh, and the variables to run in."""

    folder: str
    variables: dict[str, str]

    def mlx(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        python = ROOT / self.folder / "bin" / "python"
        if not python.exists():
            pytest.skip(f"needs {self.folder}, which CI=true make test makes")
        if "LD_LIBRARY_PATH" in self.variables and not (CHROMIUM / "libvk_swiftshader.so").exists():
            pytest.skip("needs chromium's software Vulkan")
        return subprocess.run(
            [str(python), "-m", "minilmx", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self.variables},
            capture_output=True,
            text=True,
            timeout=500,
        )


PLUGINS = Place(".venv-devices", {})
WEBGPU = Place(".venv-devices", SOFTWARE_VULKAN)
BUILD = Place(".venv-devices-build", {})


def vendor() -> str:
    (cpu,) = (each for each in onnxruntime.get_ep_devices() if each.ep_name == "CPUExecutionProvider")
    return str(cpu.device.vendor)


def compare(place: Place, device: str, artifact: Path, graph: str, folder: Path) -> dict[str, Any]:
    """The details of a run on a device whose embeddings are the CPU's."""
    (folder / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    words = (artifact, folder / "texts.txt", "--graph", graph, "--output")
    assert run_mlx("run", *words, folder / "cpu.npy").code == 0
    done = place.mlx("run", *words, folder / "device.npy", "--device", device)
    assert done.returncode == 0, done.stderr
    outcome = run_mlx("compare", folder / "cpu.npy", folder / "device.npy", "--max-relative", "1e-4")
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith("SAME"), outcome
    details: dict[str, Any] = json.loads((folder / "device.npy.run.json").read_text())["details"]
    assert details["device"] == device
    assert details["share_on_device"] == details["nodes_on_device"] / details["nodes"]
    return details


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_webgpu_runs_nearly_all_nodes_and_says_which_it_does_not(
    graph: str, small: Artifact, tmp_path: Path
) -> None:
    details = compare(WEBGPU, "webgpu", small.path, graph, tmp_path)
    assert details["execution_provider"] == "WebGpuExecutionProvider"
    assert 0.8 < details["share_on_device"] < 1
    left = details["nodes"] - details["nodes_on_device"]
    assert details["caution"].startswith(
        f"{left} of {details['nodes']} nodes ran on the CPU, not on the device webgpu ("
    )
    assert "1 Cast" in details["caution"]


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_a_build_with_openvino_runs_all_nodes(graph: str, artifact: Artifact, tmp_path: Path) -> None:
    details = compare(BUILD, "openvino", artifact.path, graph, tmp_path)
    assert details["execution_provider"] == "OpenVINOExecutionProvider"
    assert details["share_on_device"] == 1
    assert "caution" not in details


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_the_openvino_plugin_runs_all_nodes(graph: str, artifact: Artifact, tmp_path: Path) -> None:
    if vendor() != "Intel":
        pytest.skip("needs a processor made by Intel: the plug-in takes no other")
    details = compare(PLUGINS, "openvino", artifact.path, graph, tmp_path)
    assert details["share_on_device"] == 1
    assert details["hardware"].endswith("Intel")


def test_the_ledger_of_a_corpus_states_the_build_and_the_device(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (tmp_path / "texts.csv").write_text("text\na cat\n")
    words = ("run", tiny, tmp_path / "texts.csv", "--output", f"{tmp_path}/shards/")
    device = ("--device", "openvino", "--device-option", "device_type=CPU")
    for state in ("written", "resumed"):
        done = BUILD.mlx(*words, *device)
        assert done.returncode == 0, (state, done)
    header = json.loads((tmp_path / "shards.ledger.jsonl").read_text().splitlines()[0])
    assert header["versions"]["onnxruntime"] == "1.24.1"
    assert (header["device"], header["device_options"]) == ("openvino", ["device_type=CPU"])


def test_the_cpu_needs_no_code_of_devices(tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from minilmx.models.artifact import open_artifact; "
        "from minilmx.runners.registry import open_runner; "
        f"open_runner('onnxruntime', open_artifact(Path({str(tiny)!r}))); "
        "print('minilmx.runners.devices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def refusal(place: Place, *words: object) -> str:
    """The last line of the message of a command that exits with 3."""
    done = place.mlx(*words)
    assert (done.returncode, done.stdout) == (3, ""), done
    return done.stderr.splitlines()[-1]


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "texts.txt").write_text("a cat\n")
    return ("run", tiny, tmp_path / "texts.txt")


@pytest.mark.parametrize(
    ("device", "needs"),
    [
        ("openvino", "OpenVINOExecutionProvider not installed; pip install onnxruntime-ep-openvino"),
        ("webgpu", "WebGpuExecutionProvider not installed; pip install onnxruntime-ep-webgpu"),
        (
            "tensorrt-rtx",
            "NvTensorRTRTXExecutionProvider not installed; pip install onnxruntime-ep-nv-tensorrt-rtx",
        ),
        ("qnn", "QNNExecutionProvider not installed; pip install onnxruntime-qnn"),
        (
            "cuda",
            "CUDAExecutionProvider not installed; pip uninstall onnxruntime, then pip install "
            "onnxruntime-gpu",
        ),
        (
            "tensorrt",
            "TensorrtExecutionProvider not installed; pip uninstall onnxruntime, then pip install "
            "onnxruntime-gpu",
        ),
        (
            "directml",
            "DmlExecutionProvider not installed; pip uninstall onnxruntime, then pip install "
            "onnxruntime-directml",
        ),
        (
            "migraphx",
            "MIGraphXExecutionProvider not installed; pip uninstall onnxruntime, then pip install "
            "onnxruntime-migraphx",
        ),
        ("coreml", "CoreMLExecutionProvider not installed; it is part of onnxruntime for macOS"),
        ("xnnpack", "XnnpackExecutionProvider not installed; build onnxruntime with it"),
    ],
)
def test_a_provider_that_is_not_there_is_refused_with_its_package(
    device: str, needs: str, run: tuple[object, ...], mlx: Mlx
) -> None:
    outcome = mlx(*run, "--device", device)
    assert (outcome.code, outcome.stdout) == (3, "")
    assert outcome.stderr == f"Error: the runner onnxruntime cannot run here: {needs}\n"


def test_an_onnxruntime_that_does_not_report_where_nodes_run_is_refused(run: tuple[object, ...]) -> None:
    """Python 3.10's last onnxruntime is 1.23."""
    said = refusal(Place(".venv-3.10", {}), *run, "--device", "cuda")
    assert said.startswith("Error: the runner onnxruntime cannot run here: onnxruntime 1.23.")
    assert said.endswith(" does not report where nodes run; pip install 'onnxruntime>=1.24'")


def test_a_plugin_that_finds_no_hardware_is_refused(run: tuple[object, ...]) -> None:
    if Path("/sys/class/drm").exists():
        pytest.skip("needs a machine without a GPU")
    assert refusal(Place(PLUGINS.folder, NOWHERE), *run, "--device", "webgpu") == (
        "Error: the runner onnxruntime cannot run here: onnxruntime_ep_webgpu found no device that it can "
        "use; expected a GPU, or a software Vulkan and the environment variable "
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1"
    )


def test_the_openvino_plugin_on_another_makers_processor_is_refused(run: tuple[object, ...]) -> None:
    if vendor() == "Intel":
        pytest.skip("needs a processor that Intel did not make")
    assert refusal(PLUGINS, *run, "--device", "openvino") == (
        "Error: the runner onnxruntime cannot run here: onnxruntime_ep_openvino found no device that it can "
        "use; expected a CPU, GPU or NPU made by Intel"
    )


@pytest.mark.slow
def test_a_plugin_that_takes_no_node_is_a_failure(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a cat\n")
    made = export_model(
        resolve_model(str(make_model(layers=1))), tmp_path / "out", ExportOptions(Shape(1, 24))
    )
    graph = onnx.load(made.fixed_graph).graph
    nodes = [node.name for node in graph.node if node.op_type != "Constant"]
    assert all(nodes)
    said = refusal(
        WEBGPU,
        *("run", made.path, tmp_path / "texts.txt", "--graph", "fixed", "--graph-optimization", "disable"),
        *("--device", "webgpu", "--device-option", "forceCpuNodeNames=" + "\n".join(nodes)),
    )
    assert said == (
        f"Error: the device webgpu: none of the graph's {len(nodes)} nodes is on WebGpuExecutionProvider; "
        "expected at least one. Choose the fixed graph, other options of the device, or the device cpu."
    )


def test_a_build_that_falls_back_to_the_cpu_is_a_failure(run: tuple[object, ...]) -> None:
    """onnxruntime itself warns on standard error, and runs on the CPU."""
    said = refusal(BUILD, *run, "--device", "openvino", "--device-option", "device_type=GPU")
    assert said.startswith("Error: the device openvino: none of the graph's ")
    assert " nodes is on OpenVINOExecutionProvider; expected at least one. Choose " in said


def test_a_plugin_that_cannot_be_loaded_is_refused(run: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "onnxruntime_qnn.py").write_text(f"get_library_path = lambda: {str(tmp_path / 'no.so')!r}")
    broken = Place(".venv", {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])})
    said = refusal(broken, *run, "--device", "qnn")
    assert said.startswith("Error: onnxruntime cannot load onnxruntime_qnn: ")
    assert "no.so" in said


def test_a_type_of_device_that_a_plugin_does_not_find_is_refused(run: tuple[object, ...]) -> None:
    said = refusal(WEBGPU, *run, "--device", "webgpu", "--device-option", "device_type=npu")
    assert said.startswith("Error: device_type of WebGpuExecutionProvider: npu; expected one of ")


def test_an_option_that_a_provider_refuses_is_one_line(run: tuple[object, ...]) -> None:
    said = refusal(BUILD, *run, "--device", "openvino", "--device-option", "colour=red")
    assert said.startswith("Error: onnxruntime cannot load the graph: ")
    assert said.endswith("Invalid OpenVINO EP option: colour")


def test_the_command_line_names_every_device() -> None:
    (option,) = (each for each in cli.commands["run"].params if each.name == "device")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == ["cpu", *DEVICES]


def test_options_of_a_device_are_checked(tiny: Path, run: tuple[object, ...], mlx: Mlx) -> None:
    outcome = mlx(*run, "--device", "webgpu", "--device-option", "colour")
    assert outcome.code == 2
    assert outcome.stderr.endswith("'--device-option': 'colour'; expected key=value.\n")
    with pytest.raises(ValueError, match="device_options: 'colour'; expected key=value"):
        open_runner("onnxruntime", open_artifact(tiny), device="webgpu", device_options=("colour",))
    with pytest.raises(ValueError, match="device: 'gpu'; expected one of cpu, openvino, webgpu, "):
        open_runner("onnxruntime", open_artifact(tiny), device="gpu")
    with pytest.raises(RunnerError, match="the options of a device: a=b; expected none for the device cpu"):
        open_runner("onnxruntime", open_artifact(tiny), device_options=("a=b",))


@pytest.fixture
def two_builds(tmp_path: Path) -> Place:
    """A folder that is first on the path, as pip leaves it after two builds of onnxruntime."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent)
    for name, version in (("onnxruntime", metadata.version("onnxruntime")), ("onnxruntime-gpu", "1.31.1")):
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text("onnxruntime\n")
    return Place(".venv", {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")])})


def test_two_builds_in_one_folder_are_found(two_builds: Place, run: tuple[object, ...]) -> None:
    version = metadata.version("onnxruntime")
    said = (
        f"onnxruntime {version} and onnxruntime-gpu 1.31.1 are installed into the same folder, which has "
        "files of both; pip uninstall onnxruntime onnxruntime-gpu, then pip install one of them"
    )
    assert said in two_builds.mlx("runners").stdout
    listed = json.loads(two_builds.mlx("runners", "--json").stdout)
    assert [row["missing"] for row in listed if row["name"] == "onnxruntime"] == [said]
    assert (
        refusal(two_builds, *run, "--device", "cuda")
        == f"Error: the runner onnxruntime cannot run here: {said}"
    )
    assert said not in Place(".venv", {}).mlx("runners").stdout
