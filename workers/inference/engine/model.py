"""The model file, checked before anything is started with it."""

from __future__ import annotations

from pathlib import Path

from workers.inference.engine.errors import EngineMisconfigured, ModelUnusable

GGUF_MAGIC = b"GGUF"
#: Magic, version, tensor count and key count: less than this is no header at all.
GGUF_HEADER_BYTES = 24
#: Version 1 is refused by llama.cpp; beyond 99 the bytes are in the other order, or noise.
GGUF_VERSIONS = range(2, 100)


def check_model(path: Path | None) -> Path:
    """Return `path`; raise ModelUnusable, in words that say what to do, when llama.cpp could never load it."""
    if path is None:
        raise EngineMisconfigured("No model is set: point MEATLIZARD_MODEL at a GGUF file.")
    try:
        with path.open("rb") as file:
            header = file.read(GGUF_HEADER_BYTES)
    except FileNotFoundError:
        raise ModelUnusable(path, "does not exist") from None
    except OSError as error:
        raise ModelUnusable(path, f"cannot be read ({error.strerror})") from None
    if not header.startswith(GGUF_MAGIC):
        raise ModelUnusable(path, "is not a GGUF file")
    if len(header) < GGUF_HEADER_BYTES:
        raise ModelUnusable(path, "is cut short")
    if int.from_bytes(header[4:8], "little") not in GGUF_VERSIONS:
        raise ModelUnusable(path, "has a GGUF version that llama.cpp does not read")
    return path
