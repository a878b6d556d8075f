"""The graphs of an artifact on a device of onnxruntime against the CPU: the answer, and what ran there.

    python benchmarks/device.py ARTIFACT DEVICE [--option KEY=VALUE] [--texts FILE]

Run it in the environment that has the device's provider. Each graph's result, with the hardware and the
versions, is written to DEVICE-GRAPH.json. docs/how-to/device.md has what was measured.
"""

import argparse
from pathlib import Path

from command import mlx

import minilmx

GRAPHS = ("fixed", "dynamic")
FACTS = ("hardware", "execution_provider", "nodes_on_device", "nodes", "caution")


def main() -> None:
    """Compare each graph on the device with the same graph on the CPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("device", help="as in `mlx run --device`")
    parser.add_argument("--option", help="KEY=VALUE for the provider")
    parser.add_argument("--texts", help="one text per line [default: the bundled pairs]")
    given = parser.parse_args()
    option = f",device_options={given.option}" if given.option else ""
    texts = ["--texts", given.texts] if given.texts else []
    for graph in GRAPHS:
        output = Path(f"{given.device}-{graph}.json")
        sides = [f"graph={graph}", f"device={given.device},graph={graph}{option}"]
        words = [*(f"{given.artifact}@onnxruntime:{side}" for side in sides), *texts]
        mlx("compare", *words, "--output", str(output), "--force", may_differ=True)
        runs = minilmx.load_result(output).evaluations[0].runners  # type: ignore[union-attr]
        print({name: runs[1].details[name] for name in FACTS if name in runs[1].details}, flush=True)


if __name__ == "__main__":
    main()
