"""The tokenizer that transformers makes of a model folder, also from the vocabulary files of older models."""

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import tokenizers

from minilmx.errors import ModelError, boundary
from minilmx.models.model_folder import ModelSource
from minilmx.models.support import describe_tokenizer


def make_tokenizer(source: ModelSource) -> tokenizers.Tokenizer:
    """The fast form of a folder's tokenizer, as transformers itself would use it.

    Runs no remote code. Raises ModelError if a vocabulary or a package is missing, or the files
    cannot be converted.
    """
    folder, made = source.encoder, describe_tokenizer(source).removeprefix("made from ")
    needed = {"transformers": "'minilmx[export]'"}
    if made.endswith(".model"):
        needed["sentencepiece"] = "sentencepiece protobuf"
    for package, install in needed.items():
        if importlib.util.find_spec(package) is None:
            raise ModelError(
                f"{folder}: no tokenizer.json; creating one from {made} needs {package}, which is not "
                "installed",
                f"Run pip install {install}.",
            )
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        tokenizer = load_auto_tokenizer(folder, f"make a tokenizer from {made}")
    return tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())


def load_auto_tokenizer(folder: Path, task: str = "load its tokenizer") -> Any:
    """transformers' AutoTokenizer of a model folder: what sentence-transformers tokenizes with.

    Runs no remote code. Raises ModelError, which names the `task`, if it cannot be loaded, or is not based
    on tokenizers.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    with boundary(ModelError, f"{folder}: transformers cannot {task}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer.backend_tokenizer  # noqa: B018 - a slow tokenizer has none
    return tokenizer
