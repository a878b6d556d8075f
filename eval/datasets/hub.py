"""Whether the hub has a data set, asked for once."""

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
