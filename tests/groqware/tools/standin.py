"""What the stand-in tools share: the switches, the program file, and a reader of an ONNX file's ops.

GROQWARE STAND-IN: test equipment, not Groq's. Standard library only, so any Python 3.8 or later runs the
tools at once.

A program file (.aa and .iop alike) is three parts, each but the last ended by a newline:

    GROQWARE STAND-IN: not a Groq program, not from a card
    {"kind": "aa", "sha256": "<of the rest>", "size_bytes": <of the rest>}
    <the bytes of the FP16 ONNX file>
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

MARK = "GROQWARE STAND-IN: not a Groq program, not from a card"


def switch(name):
    """The failure asked for by the environment variable `name`, as (failure, argument); ("", "") for none."""
    failure, _, argument = os.environ.get(name, "").partition(":")
    return failure, argument


def announce(tool):
    print(f"{MARK} (the stand-in for {tool})", file=sys.stderr, flush=True)


def lock_card():
    """Hold the first card that is free, as (its number from 1, what frees it); wait while there is none.

    The file GROQWARE_CARD_LOCK stands for the first card, and with "-2", "-3" and so on for the others.
    Only a program that ends in order frees its card.
    """
    path = os.environ.get("GROQWARE_CARD_LOCK")
    if not path:
        return 1, lambda: None
    while True:
        for card in range(1, int(os.environ.get("GROQWARE_CARDS") or 1) + 1):
            held = path if card == 1 else f"{path}-{card}"
            try:
                os.close(os.open(held, os.O_CREAT | os.O_EXCL))
                return card, partial(os.unlink, held)
            except FileExistsError:
                continue
        time.sleep(0.02)


def hang(stubborn=False):
    """Sleep for ten minutes; when stubborn, ignore SIGTERM, and so does a child process of it."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    time.sleep(600)


def write_program(path, kind, graph, keep=1.0):
    """Write the program file; `keep` less than 1 leaves it cut short, as a full disk would."""
    digest = hashlib.sha256(graph).hexdigest()
    header = json.dumps({"kind": kind, "sha256": digest, "size_bytes": len(graph)})
    with open(path, "wb") as file:
        file.write(f"{MARK}\n{header}\n".encode())
        file.write(graph[: int(len(graph) * keep)])


def read_program(path, kind):
    """The ONNX bytes in the program file at `path`; ValueError when it is no whole program of that kind."""
    with open(path, "rb") as file:
        mark, line, graph = file.readline(), file.readline(), file.read()
    if mark.decode(errors="replace").strip() != MARK:
        raise ValueError(f"{path} is no program of the stand-in compiler")
    header = json.loads(line)
    if header["kind"] != kind:
        raise ValueError("{} is of kind {!r}, expected {!r}".format(path, header["kind"], kind))
    if header["size_bytes"] != len(graph) or header["sha256"] != hashlib.sha256(graph).hexdigest():
        raise ValueError("{} is damaged: {} bytes of {}".format(path, len(graph), header["size_bytes"]))
    return graph


def fields(message):
    """The (number, value) pairs of a protobuf message; the value of a fixed-size field is None."""

    def varint(at):
        value, shift = 0, 0
        while True:
            byte = message[at]
            value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                return value, at

    at = 0
    while at < len(message):
        key, at = varint(at)
        value = None
        if key & 7 == 0:
            value, at = varint(at)
        elif key & 7 == 2:
            size, at = varint(at)
            value, at = message[at : at + size], at + size
        else:
            at += {1: 8, 5: 4}[key & 7]
        yield key >> 3, value


def op_types(path):
    """Of every node of the ONNX file: ModelProto.graph (7), GraphProto.node (1), NodeProto.op_type (4)."""
    with open(path, "rb") as file:
        model = memoryview(file.read())
    graph = next(value for number, value in fields(model) if number == 7)
    nodes = [value for number, value in fields(graph) if number == 1]
    return [bytes(value).decode() for node in nodes for number, value in fields(node) if number == 4]
