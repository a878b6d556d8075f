"""A tokenizer.json made by transformers from the vocabulary files of older models."""

import contextlib
import importlib.util
import io

import tokenizers

from minilmx.errors import ModelError
from minilmx.models.source import ModelSource
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
                f"{folder}: no tokenizer.json; making one from {made} needs {package}, which is not "
                "installed",
                f"Run pip install {install}.",
            )
    import transformers

    transformers.utils.logging.set_verbosity_error()
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        backend: tokenizers.Tokenizer = tokenizer.backend_tokenizer
    except Exception as error:
        raise ModelError(f"{folder}: transformers cannot make a tokenizer from {made}: {error}") from error
    return tokenizers.Tokenizer.from_str(backend.to_str())
