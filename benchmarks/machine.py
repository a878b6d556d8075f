"""Facts about the machine and the versions that a result was measured with."""

import os
import platform
import subprocess
from pathlib import Path

from minilmx.eval.consumers.places import installed_versions

_PACKAGES = (
    *("fastembed", "minilmx", "nncf", "numpy", "onnxruntime", "openvino", "optimum", "optimum-intel"),
    *("optimum-onnx", "sentence-transformers", "tokenizers", "torch", "transformers"),
)


def describe_machine() -> dict[str, object]:
    """Processor, cores that we may use, vector and matrix instructions, memory, system."""
    info = Path("/proc/cpuinfo").read_text()
    pairs = (line.partition(":") for line in info.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": sorted(flag for flag in flags if flag.startswith(("avx", "amx"))),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0],
    }


def seconds_of_others() -> float:
    """CPU seconds, over all cores, that went to other programs than this one and the processes it ended."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def list_versions(python: Path) -> dict[str, str]:
    """Versions of the packages that matter for speed, and of Python, as this Python has them."""
    process = subprocess.run([python, "--version"], capture_output=True, check=True, text=True)
    return {"python": process.stdout.split()[-1], **installed_versions(python, _PACKAGES)}
