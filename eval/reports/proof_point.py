"""Groq's published figures of its proof point beside those of this machine, as a text table.

Every published figure is in the log of Groq's minilmv2.py on a real card that `_SOURCE` names.
"""

from minilmx.eval.proof_point import PROOF_PAIRS, PROOF_SHAPE, Reproduction
from minilmx.models.known import DEFAULT_MODEL

_SOURCE = (
    "[1] argonne-lcf/AIaccelerators-SC24-tutorial, Groq/ALCF/minilm.md: the log of Groq's minilmv2.py on a "
    "GroqCard. It is the source of all figures in that column."
)
_ON_CHIP_COMPUTE = "0.3816 ms (2,620.58/s)"
_SDK_CALL = "0.466 ms (2,144.87/s)"
_SPEARMAN, _CPU_SPEARMAN = "0.8204", "0.8203"


def proof_point_text(reproduction: Reproduction) -> str:
    """The table, and what to know about its figures."""
    rows = [
        (
            "figure",
            "Groq's proof point [1]",
            "here (emulated)" if reproduction.emulated else "here (GroqCard)",
        ),
        ("on-chip compute (cycles)", _ON_CHIP_COMPUTE, _latency(reproduction.on_chip_compute_seconds)),
        ("with PCIe (GroqFlow's estimate)", "not published", _latency(reproduction.with_pcie_seconds)),
        ("inside the SDK call (measured)", _SDK_CALL, _latency(reproduction.sdk_call_seconds)),
        ("Spearman", _SPEARMAN, _score(reproduction.spearman)),
        ("Spearman on the CPU", _CPU_SPEARMAN, _score(reproduction.cpu_spearman)),
    ]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    length = PROOF_SHAPE.sequence_length
    lines = [
        f"{DEFAULT_MODEL} at [{PROOF_SHAPE.batch_size}, {length}]: {reproduction.pairs:,} pairs of "
        f"{reproduction.dataset} ran; {reproduction.dropped:,} with more than {length} tokens were dropped.",
        "",
        *(f"{label:<{first}}  {published:<{second}}  {here}" for label, published, here in rows),
        "",
        _SOURCE,
        "One call runs one pair. Groq calls the third row end to end, and gives the mean of 100 calls. The "
        "CPU row here is onnxruntime on the dynamic-shape graph.",
    ]
    if reproduction.mask != "bool":
        lines.append(f"The graph here takes the mask as {reproduction.mask}; Groq's takes it as bool.")
    if reproduction.emulated:
        lines.append("emulated: a stand-in for Groq's SDK; its numbers are not from a GroqCard.")
    if reproduction.pairs != PROOF_PAIRS:
        lines.append(
            f"Groq's Spearman uses all {PROOF_PAIRS:,} pairs of stsb_multi_mt (English, test split); the one "
            "here uses other pairs."
        )
    return "\n".join(lines)


def _latency(seconds: float | None) -> str:
    return f"{1000 * seconds:.4g} ms ({1 / seconds:,.2f}/s)" if seconds else "unknown"


def _score(spearman: float | None) -> str:
    return "undefined" if spearman is None else f"{spearman:.4f}"
