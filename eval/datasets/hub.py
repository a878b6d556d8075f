"""Data sets on the hub."""

from minilmx.errors import DatasetError
from minilmx.files.tables import Table

STSB = "stsb"
STSB_HUB_ID = "PhilipMay/stsb_multi_mt"
# From mteb's task metadata. For other data sets the hub's current commit is used and recorded.
PINNED_REVISIONS = {
    "mteb/stsbenchmark-sts": "b0fddb56ed78048fa8b90373c8a3cfc37b684831",
    "mteb/stsb_multi_mt": "29afa2569dcedaaa2fe6a3dcfebab33d28b82e8c",
}
STSB_LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru", "zh")
_TIMEOUT_SECONDS = 10.0


def current_revision(hub_id: str, revision: str | None) -> str | None:
    """The commit of a data set's revision, or `revision` itself if the hub is not to be asked.

    One request without retries, to fail at once if the hub cannot be reached. Raises what huggingface_hub
    raises.
    """
    import huggingface_hub as hub

    if hub.is_offline_mode():
        return revision
    return hub.HfApi().dataset_info(hub_id, revision=revision, timeout=_TIMEOUT_SECONDS).sha


def read_hub(dataset: str, language: str | None, split: str) -> tuple[Table, str | None]:
    """A hub data set and its revision: the pinned one, or else the current one."""
    try:
        import datasets
        import huggingface_hub as hub
        from huggingface_hub import errors as hub_errors
    except ImportError as error:
        raise DatasetError(
            f"the data set {dataset} needs the package datasets, which is not installed",
            "Run pip install 'minilmx[datasets]'.",
        ) from error
    hub_id = STSB_HUB_ID if dataset == STSB else dataset
    if dataset == STSB and language not in STSB_LANGUAGES:
        raise DatasetError(
            f"stsb: unknown language {language!r}; expected one of {', '.join(STSB_LANGUAGES)}"
        )
    datasets.disable_progress_bars()
    revision = PINNED_REVISIONS.get(hub_id)
    try:
        revision = current_revision(hub_id, revision)
        rows = datasets.load_dataset(hub_id, name=language, split=split, revision=revision)
    except hub_errors.RepositoryNotFoundError as error:
        raise DatasetError(
            f"the data set {hub_id} does not exist on the hub, or is private",
            "For a private one, run `hf auth login`.",
        ) from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(
            f"the data set {hub_id} (language {language}, split {split}) cannot be loaded: {reason}",
            "Unset HF_HUB_OFFLINE, or use a file."
            if hub.is_offline_mode()
            else "Check the connection, set HF_HUB_OFFLINE=1 if it is in the cache, or use a file.",
        ) from error
    names = tuple(rows.column_names)
    return Table(hub_id, list(range(1, len(rows) + 1)), names, [list(rows[name]) for name in names]), revision
