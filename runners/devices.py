"""The devices of the runner `onnxruntime`, and a session on one of them.

onnxruntime calls a device's library an execution provider. It is either a plug-in, a package beside
onnxruntime, or part of another build of onnxruntime, which is installed in its place. Nodes that a provider
does not take run on the CPU without a word, so the session is asked where each node runs.
"""

import importlib
import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime

from minilmx.errors import RunnerFailed, RunnerUnavailable, boundary
from minilmx.runners.base import Details

# Which of a plug-in's devices: CPU, GPU or NPU. Builds of OpenVINO's provider take it themselves.
DEVICE_TYPE = "device_type"
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Device:
    """An execution provider, how to get it and, if it is a plug-in, its module and the hardware it needs."""

    provider: str
    get: str
    module: str | None = None
    needs: str = ""


def _other_build(package: str) -> str:
    return f"pip uninstall onnxruntime, then pip install {package}"


DEVICES = {
    "openvino": Device(
        "OpenVINOExecutionProvider",
        "pip install onnxruntime-ep-openvino",
        "onnxruntime_ep_openvino",
        "a CPU, GPU or NPU made by Intel",
    ),
    "webgpu": Device(
        "WebGpuExecutionProvider",
        "pip install onnxruntime-ep-webgpu",
        "onnxruntime_ep_webgpu",
        "a GPU, or a software Vulkan and the environment variable ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1",
    ),
    "cuda": Device("CUDAExecutionProvider", _other_build("onnxruntime-gpu")),
    "tensorrt": Device("TensorrtExecutionProvider", _other_build("onnxruntime-gpu")),
    "tensorrt-rtx": Device(
        "NvTensorRTRTXExecutionProvider",
        "pip install onnxruntime-ep-nv-tensorrt-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx",
        "an RTX GPU made by NVIDIA",
    ),
    "qnn": Device(
        "QNNExecutionProvider", "pip install onnxruntime-qnn", "onnxruntime_qnn", "an NPU made by Qualcomm"
    ),
    "coreml": Device("CoreMLExecutionProvider", "it is part of onnxruntime for macOS"),
    "directml": Device("DmlExecutionProvider", _other_build("onnxruntime-directml")),
    "migraphx": Device("MIGraphXExecutionProvider", _other_build("onnxruntime-migraphx")),
    "xnnpack": Device("XnnpackExecutionProvider", "build onnxruntime with it"),
}


def plugin_versions(name: str) -> dict[str, str]:
    """The version of a device's package, if it is a plug-in."""
    packages = metadata.packages_distributions().get(DEVICES[name].module or "", ())
    return {each: metadata.version(each) for each in packages}


def find_missing(name: str) -> str | None:
    """What this machine lacks for a device, and how to get it, or None.

    Raises RunnerUnavailable for a plug-in that cannot be loaded.
    """
    device = DEVICES[name]
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        return (
            f"onnxruntime {onnxruntime.__version__} does not report where nodes run; "
            "pip install 'onnxruntime>=1.24'"
        )
    onnxruntime.set_default_logger_severity(3)  # errors only: why a provider does not start
    if device.module:
        _register(device.module)
    if device.provider in onnxruntime.get_available_providers() or _hardware(device):
        return None
    if clash := find_clash():
        return clash
    if device.module is None or importlib.util.find_spec(device.module) is None:
        return f"{device.provider} not installed; {device.get}"
    return f"{device.module} found no device that it can use; expected {device.needs}"


def find_clash() -> str | None:
    """The builds of onnxruntime that are installed over each other, and what to do, or None."""
    folder = Path(onnxruntime.__file__).parent
    builds = {
        name: distribution.version
        for name in sorted(set(metadata.packages_distributions().get("onnxruntime", ())))
        if Path(str((distribution := metadata.distribution(name)).locate_file("onnxruntime"))) == folder
    }
    if len(builds) < 2:
        return None
    installed = " and ".join(f"{name} {version}" for name, version in builds.items())
    return (
        f"{installed} are installed into the same folder, which has files of both; pip uninstall "
        f"{' '.join(builds)}, then pip install one of them"
    )


def open_on_device(
    model: str | bytes, settings: onnxruntime.SessionOptions, name: str, given: Sequence[str]
) -> tuple[onnxruntime.InferenceSession, Details]:
    """A session on a device, and where its nodes run.

    `given` are the provider's own options, each "key=value", and for a plug-in also DEVICE_TYPE. The threads
    of `settings` run the nodes that the provider does not take. Raises RunnerUnavailable if the provider has
    no device of that type, RunnerFailed if no node runs on the provider.
    """
    device, options = DEVICES[name], dict(option.split("=", 1) for option in given)
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: list[Any] | None = None
    details: dict[str, Any] = {
        "execution_provider": device.provider,
        "device": name,
        "device_options": " ".join(given) or None,
        "threads": settings.intra_op_num_threads or "default",
    }
    if found := _hardware(device):
        chosen = _choose(found, device, options.pop(DEVICE_TYPE, None))
        settings.add_provider_for_devices([chosen], options)
        details["hardware"] = f"{_type(chosen)} {chosen.device.vendor}".strip()
        details["provider_version"] = chosen.ep_metadata.get("version")
    else:
        providers = [(device.provider, options), _CPU]
    session = onnxruntime.InferenceSession(model, settings, providers=providers, enable_fallback=0)
    on_device, elsewhere = 0, Counter[str]()
    for part in session.get_provider_graph_assignment_info():
        operators = [node.op_type for node in part.get_nodes()]
        if part.ep_name == device.provider:
            on_device += len(operators)
        else:
            elsewhere.update(operators)
    total = on_device + elsewhere.total()
    if not on_device:
        raise RunnerFailed(
            f"the device {name}: none of the graph's {total} nodes is on {device.provider}; expected at "
            "least one",
            "Choose the fixed graph, other options of the device, or the device cpu.",
        )
    details |= {"nodes": total, "nodes_on_device": on_device, "share_on_device": on_device / total}
    if elsewhere:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(elsewhere.items()))
        details["caution"] = (
            f"{elsewhere.total()} of {total} nodes ran on the CPU, not on the device {name} ({kinds})"
        )
    return session, details


@cache
def _register(module: str) -> None:
    """Let onnxruntime load a plug-in, if it is installed: once per process. Raises RunnerUnavailable."""
    if importlib.util.find_spec(module) is None:
        return
    with boundary(RunnerUnavailable, f"onnxruntime cannot load {module}"):
        plugin = importlib.import_module(module)
        onnxruntime.register_execution_provider_library(module, plugin.get_library_path())


def _hardware(device: Device) -> list[Any]:
    """What the provider, if it is a plug-in, can run on here."""
    return [each for each in onnxruntime.get_ep_devices() if each.ep_name == device.provider]


def _choose(ep_devices: list[Any], device: Device, kind: str | None) -> Any:
    for each in ep_devices:
        if kind is None or _type(each) == kind.upper():
            return each
    types = ", ".join(dict.fromkeys(map(_type, ep_devices)))
    raise RunnerUnavailable(f"{DEVICE_TYPE} of {device.provider}: {kind}; expected one of {types}")


def _type(ep_device: Any) -> str:
    return str(ep_device.device.type.name)
