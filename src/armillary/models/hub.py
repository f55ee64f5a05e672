"""Whether the model hub answers, found out in seconds: its client would retry for half a minute."""

from huggingface_hub import constants, get_session

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
