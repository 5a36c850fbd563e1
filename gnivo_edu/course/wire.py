"""Values between the grader and a submission's process, as JSON: data only, so that reading them
runs no code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

Call = Callable[..., Any]
KINDS = "fiubc"  # numbers and truth values; an array of anything else does not travel
LIMIT = 64 * 2**20  # bytes of one message


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one message; ValueError if it is too long."""
    line = json.dumps(message).encode() + b"\n"
    if len(line) > LIMIT:
        raise ValueError(f"more than {LIMIT >> 20} MB")
    stream.write(line)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream, ValueError if it is none."""
    line = stream.readline(LIMIT + 1)
    if not line:
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message


def encode(value: Any, calls: list[Call]) -> Any:
    """A value for JSON. Functions are appended to `calls` and travel as a number; what numpy reads
    as an array as one; other types as their repr, dtype and, if they have one, value as a float.

    >>> encode((1, [2.5, None]), [])
    {'tuple': [1, [2.5, None]]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        if not isinstance(value, np.generic):
            return value
    elif isinstance(value, list):
        return [encode(item, calls) for item in value]
    elif isinstance(value, tuple):
        return {"tuple": [encode(item, calls) for item in value]}
    elif callable(value) and not hasattr(value, "__array__"):
        calls.append(value)
        return {"call": len(calls) - 1}
    # A tensor that has a gradient is no array before it is detached.
    plain = value.detach() if hasattr(value, "detach") else value
    try:
        data = np.asarray(plain)
    except Exception:  # a tensor in bfloat16, which numpy has not
        data = np.asarray(None)
    if data.nbytes > LIMIT:
        raise ValueError(f"an array of more than {LIMIT >> 20} MB")
    if data.dtype.kind in KINDS:
        raw = base64.b64encode(data.tobytes()).decode()
        scalar = isinstance(value, np.generic | complex)
        return {"array": [data.dtype.str, data.shape, raw, scalar]}
    try:
        real = None if hasattr(value, "dtype") else float(value)
    except Exception:  # most are no number
        real = None
    told = [type(value).__name__, repr(plain)[:500], str(getattr(value, "dtype", "")), real]
    return {"other": told}


def decode(value: Any, call: Callable[[int], Call] | None = None) -> Any:
    """The value again; arrays are read-only. `call` makes a function of its number; ValueError on
    what is no value.

    >>> decode(encode((1, [2.5, None]), []))
    (1, [2.5, None])
    """
    if isinstance(value, list):
        return [decode(item, call) for item in value]
    match value:
        case {"tuple": list(items)}:
            return tuple(decode(item, call) for item in items)
        case {"array": [str(dtype), list(shape), str(raw), bool(scalar)]}:
            if np.dtype(dtype).kind not in KINDS:
                raise ValueError(f"an array of {dtype}")
            data = np.frombuffer(base64.b64decode(raw), dtype).reshape(shape)
            return data[()] if scalar else data
        case {"call": int(number)} if call is not None:
            return call(number)
        case {"other": [str(name), str(text), str(kind), real]}:
            parts: dict[str, Any] = {"__repr__": lambda self: text}
            if isinstance(real, float):  # a fraction, say
                parts["__float__"] = lambda self: real
            if kind:
                parts["dtype"] = kind
            return type(name, (), parts)()
        case dict():
            raise ValueError("not a value")
    return value
