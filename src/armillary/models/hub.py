"""The model hub: a model or adapter of it as a folder of its cache, and whether it answers at all."""

from pathlib import Path

from huggingface_hub import constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from armillary.errors import DownloadError, ModelError
from armillary.fetch import cache
from armillary.files import no_space
from armillary.models.adapters.lora import is_adapter
from armillary.models.folders import require_readable
from armillary.models.packaged import near
from armillary.models.quiet import quiet, reason

# A model of the hub: all its files are brought here first, and then it is a folder like any other. transformers asked
# for file after file would ask for those that are not there either, each with retries where there is no network.

_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]
_HUB_EXTRAS = ["*/*.safetensors", "consolidated*", "*.fp16.safetensors", "*.fp32.safetensors", "*.bf16.safetensors"]


def hub_folder(hub_id: str, *, online: bool, revision: str | None = None) -> Path:
    """The folder of a hub id in the hub's cache, downloaded first where ``online``; ``revision`` is a branch, tag or
    commit other than the main one.

    DownloadError where the hub can't be reached and the cache lacks the model or a part of it; ModelError where the
    hub has no such model, asks for an account, or the model is none that can be read.
    """
    try:
        with quiet(bars=True):
            folder = Path(
                snapshot_download(
                    hub_id,
                    revision=revision,
                    local_files_only=not online,
                    allow_patterns=_HUB_FILES,
                    ignore_patterns=_HUB_EXTRAS,
                )
            )
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is on the model hub only for those who accepted its terms there; do so and run hf auth login."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{hub_id} is no folder here and not on the model hub{near(hub_id)}") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{hub_id} has no revision {revision!r} on the model hub.") from error
    except LocalEntryNotFoundError as error:
        kept = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "snapshots"
        revisions = sorted(kept.iterdir()) if kept.is_dir() else []
        if revisions:
            raise DownloadError(
                f"{hub_id} is in the hub's cache without its {revision or 'main'} revision, and the model hub can't "
                f"be reached; give the folder {revisions[-1]}."
            ) from error
        raise DownloadError(
            f"{hub_id} is no folder here and the model hub can't be reached to look for it (check the network)"
            f"{near(hub_id)}"
        ) from error
    except (OSError, ValueError) as error:
        if no_space(error):
            raise cache.storage_error(error, Path(constants.HF_HUB_CACHE)) from error
        raise DownloadError(f"{hub_id} can't be fetched from the model hub ({reason(error)}).") from error
    try:
        if not is_adapter(folder):
            require_readable(folder)
    except ModelError as error:
        if online:
            raise ModelError(str(error).replace(str(folder), hub_id)) from error
        raise DownloadError(
            f"{hub_id} is not whole in the hub's cache, and the model hub can't be reached: {error}"
        ) from error
    return folder


# Whether the model hub answers, found out in seconds: its client would retry for half a minute.

_PATIENCE_SECONDS = 5.0


def reachable() -> bool:
    """True where the hub answers at all, through whatever proxy the machine uses; False too in offline mode."""
    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    except Exception:  # any failure to connect, of whichever HTTP library the client is built on
        return False
    return True
