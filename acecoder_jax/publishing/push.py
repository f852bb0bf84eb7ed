"""A folder to a dataset repository of the hub. The token comes from the environment and is never shown."""

import os
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
HELP = "make one with write access at https://huggingface.co/settings/tokens"


def token() -> str:
    """The token. ValueError where the environment has none."""
    for name in TOKEN_NAMES:
        if value := os.environ.get(name, "").strip():
            return value
    raise ValueError(f"no token for the hub: put one into the environment as {TOKEN_NAMES[0]} ({HELP})")


def push(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Uploads what is in the folder in one commit, and returns its address. The repository is made where it is missing.

    ValueError for a token that is missing, wrong or without the right to write; RuntimeError for any other refusal;
    ConnectionError where the hub cannot be reached. None of them holds the token.
    """
    secret = token()
    api = huggingface_hub.HfApi(token=secret)
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, repo_type="dataset", folder_path=folder, commit_message=message, ignore_patterns=[".*"]
        )
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise _refused(status, repository, str(error).replace(secret, "<token>")) from None
    except (errors.HFValidationError, errors.OfflineModeIsEnabled) as error:
        raise ValueError(f"nothing was pushed to {repository}: {str(error).replace(secret, '<token>')}") from None
    except Exception as error:
        if not _of_the_network(error):
            raise
        raise ConnectionError(
            f"the hub could not be reached: {str(error).replace(secret, '<token>')}; the dataset is whole in {folder}"
        ) from None
    return str(commit.commit_url)


def _refused(status: int, repository: str, told: str) -> Exception:
    if status == 401:
        return ValueError(f"the hub does not accept the token in {TOKEN_NAMES[0]}: {HELP}")
    if status in (403, 404):
        return ValueError(f"the token in {TOKEN_NAMES[0]} may not write to {repository}: {HELP}, for its owner")
    return RuntimeError(f"the hub refused the push to {repository}: {told}")


def _of_the_network(error: Exception) -> bool:
    """Which HTTP client huggingface_hub uses, and so whose errors come through, differs by its version."""
    clients = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(clients & {"httpx", "httpx2", "requests"})
