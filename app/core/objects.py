"""The object store: sealed streams in and out over S3, with flat memory however long they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from app.core.config import settings
from app.wire.errors import NotFound, Unavailable

PART_BYTES: Final = 8 << 20
"""Bytes of a part of an upload; S3 wants 5 MiB at least, and one is held in memory."""
ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
"""What stores answer for what is not there."""
TEMPORARY: Final = ".rclone_temp_multipart_"
"""What the embedded store calls the file of an upload in parts; it stays where the store is killed meanwhile."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a list shows it; its size in bytes."""

    key: str
    size: int
    at: datetime


def configured() -> bool:
    """Say whether there is an object store at all."""
    return bool(settings().s3_endpoint)


@cache
def client() -> Any:
    """Return this process's client; connects at the first use."""
    # Loaded here: 16 MB that a process which never comes near the store need not carry.
    from app.core import s3_client

    return s3_client.made(settings())


@contextmanager
def _asking(what: str) -> Iterator[None]:
    # Loaded here, as above.
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ABSENT:
            raise NotFound(f"The object store has no {what}.") from error
        raise Unavailable(f"The object store refused {what} ({code}). Look at its log, and at the settings that lead to it.") from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(f"The object store does not answer at {settings().s3_endpoint}; it is tried again.") from error


def _bucket(**more: Any) -> dict[str, Any]:
    return {"Bucket": settings().s3_bucket, **more}


def put(key: str, body: bytes) -> None:
    """Keep a small object whole; readers see all of it or none."""
    with _asking(key):
        client().put_object(**_bucket(Key=key, Body=body))


def upload(key: str, source: Path, progress: Callable[[int], None] | None = None) -> None:
    """Keep a file, in parts where it is large; they become visible as one object at the end, or not at all.

    `progress` is called with the number of bytes that went out, again and again.
    """
    # Loaded here, as above.
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig

    # One part at a time: the store is beside us, and memory is wanted for the model.
    config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
    with _asking(key):
        try:
            client().upload_file(str(source), settings().s3_bucket, key, Callback=progress, Config=config)
        except Boto3Error as error:
            raise OSError(str(error)) from error
    if size(key) != source.stat().st_size:
        raise Unavailable(f"The object store did not keep {key} as it was sent; it is sent again.")


def upload_stream(key: str, source: Any, progress: Callable[[int], None] | None = None) -> None:
    """Keep what is read from `source`, in parts, without a file or knowing its length; all of it or nothing shows."""
    # Loaded here, as above.
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
    with _asking(key):
        try:
            client().upload_fileobj(source, settings().s3_bucket, key, Callback=progress, Config=config)
        except Boto3Error as error:
            raise OSError(str(error)) from error


def size(key: str) -> int | None:
    """Return an object's size in bytes; None where there is none."""
    try:
        with _asking(key):
            return int(client().head_object(**_bucket(Key=key))["ContentLength"])
    except NotFound:
        return None


def get(key: str) -> bytes:
    """Return a small object; raise NotFound where there is none."""
    with _asking(key):
        return bytes(client().get_object(**_bucket(Key=key))["Body"].read())


@contextmanager
def reading(key: str) -> Iterator[BinaryIO]:
    """Give an object to read from; raise NotFound where there is none."""
    with _asking(key):
        body = client().get_object(**_bucket(Key=key))["Body"]
        try:
            yield body
        finally:
            body.close()


def listed(prefix: str, after: str = "") -> Iterator[Stored]:
    """Yield the objects whose keys begin with `prefix`, in the order of their keys; only those behind the key `after`."""
    behind = {"StartAfter": after} if after else {}
    with _asking(prefix):
        pages = client().get_paginator("list_objects_v2").paginate(**_bucket(Prefix=prefix, **behind))
        for page in pages:
            for one in page.get("Contents", ()):
                yield Stored(one["Key"], one["Size"], one["LastModified"])


def remove(key: str) -> None:
    """Remove an object, if it is there."""
    try:
        with _asking(key):
            client().delete_object(**_bucket(Key=key))
    except NotFound:
        pass


def sweep_uploads(prefix: str) -> int:
    """End the uploads in parts that nobody goes on with, and remove what they left; return how many."""
    found: list[dict[str, Any]] = []
    try:
        with _asking(prefix):
            found = client().list_multipart_uploads(**_bucket(Prefix=prefix)).get("Uploads", [])
            for one in found:
                client().abort_multipart_upload(**_bucket(Key=one["Key"], UploadId=one["UploadId"]))
    except NotFound:
        pass  # So the embedded store says that there was never one, or that it has just come to its end.
    left = [one.key for one in listed(prefix) if TEMPORARY in one.key]
    for key in left:
        remove(key)
    return len(found) + len(left)
