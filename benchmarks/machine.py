"""Facts about the machine and the versions that a result was measured with."""

import json
import os
import platform
import subprocess
from pathlib import Path

_PACKAGES = (
    "fastembed",
    "minilmx",
    "nncf",
    "numpy",
    "onnxruntime",
    "openvino",
    "optimum",
    "optimum-intel",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)
_SCRIPT = """
import importlib.metadata as metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


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


def list_versions(python: Path) -> dict[str, str]:
    """Versions of the packages that matter for speed, as this Python has them."""
    command = [str(python), "-I", "-c", _SCRIPT, *_PACKAGES]
    versions: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return versions
