"""Is the Hugging Face hub there? Its loaders retry for a minute or more before they look into the
cache.
"""

from __future__ import annotations

from typing import Literal

TIMEOUT = 5.0  # seconds


def hub_answers(name: str, kind: Literal["model", "dataset"] = "model") -> bool:
    """Whether the hub can be asked about a model or a data set; asked once, at most `TIMEOUT`
    seconds.

    True also where it answers that there is none of that name, or that it is private: the loader
    says that better."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if kind == "model":
            HfApi().model_info(name, timeout=TIMEOUT)
        else:
            HfApi().dataset_info(name, timeout=TIMEOUT)
    except (HfHubHTTPError, HFValidationError):
        return True
    except Exception:  # no network, no name for it, no answer in time, told to stay offline
        return False
    return True
