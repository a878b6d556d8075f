"""What `mlx run` costs beside the runner itself: memory, rate, reading and writing, workers (Linux).

    python benchmarks/scale.py ARTIFACT "--output out/"                  # 1,000,000 sentences into shards
    python benchmarks/scale.py ARTIFACT "--output out.npy" --rows 10000
    python benchmarks/scale.py ARTIFACT "-o out/ --workers 1 ..." "-o out/ --workers 2 ..." --rounds 5

Each argument after the artifact holds options of `mlx run`. Several take turns, and each is compared
with the first, round by round. The sentences are the package's own pairs, repeated. docs/scale.md has
the figures.
"""

import argparse
import hashlib
import shlex
import tempfile
from itertools import cycle, islice
from pathlib import Path

from command import mlx

from minilmx.eval.benchmark import median_ratio
from minilmx.eval.datasets.pairs import BUNDLED, load_pairs


def main() -> None:
    """Run every set of options once per round, each time into a new folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("options", nargs="+", help="of mlx run, in quotes; outputs are in a new folder")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    seconds: list[list[float]] = [[] for _ in given.options]
    with tempfile.TemporaryDirectory(dir=".") as name:
        texts = Path(name).resolve() / "in.txt"
        with texts.open("w", encoding="utf-8") as stream:
            stream.writelines(f"{text}\n" for text in islice(cycle(load_pairs(BUNDLED).texts), given.rows))
        for number in range(given.rounds):
            for place in range(len(given.options)):
                turn = (number + place) % len(given.options)
                seconds[turn].append(run(given.artifact.resolve(), texts, given.options[turn]))
    for options, mine in zip(given.options[1:], seconds[1:], strict=True):
        print(f"{options}: {median_ratio(seconds[0], mine):.2f} times as fast as {given.options[0]}")


def run(artifact: Path, texts: Path, options: str) -> float:
    """One `mlx run`: its seconds. Prints them, its peak memory, its summary, and a digest of its output."""
    with tempfile.TemporaryDirectory(dir=texts.parent) as folder:
        seconds = mlx("run", str(artifact), str(texts), *shlex.split(options), folder=Path(folder))
        made = sorted([*Path(folder).rglob("*.npy"), *Path(folder).rglob("*.ledger.jsonl")])
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in made)).hexdigest()
    print(f"{options}: sha256 {digest[:12]}", flush=True)
    return seconds


if __name__ == "__main__":
    main()
