"""The client of the object store: boto3's, without what botocore would load of Amazon's other services."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import orjson
from botocore.config import Config
from botocore.loaders import JSONFileLoader, Loader
from botocore.session import Session

from app.core.config import Settings

ADDRESSES: Final[dict[str, Any]] = {
    "version": 3,
    "partitions": [
        {
            "partition": "aws",
            "dnsSuffix": "amazonaws.com",
            "regionRegex": r"^(us|eu|ap|sa|ca|me|af|il|mx)\-\w+\-\d+$",
            "defaults": {"hostname": "{service}.{region}.{dnsSuffix}"},
            "regions": {},
            "services": {
                "s3": {
                    "partitionEndpoint": "aws-global",
                    "isRegionalized": True,
                    "endpoints": {"aws-global": {"credentialScope": {"region": "us-east-1"}, "hostname": "s3.amazonaws.com"}},
                }
            },
        }
    ],
}
"""Botocore's `endpoints.json` with the one service of its hundreds that we speak with, whose address is in our settings."""


ASKED: Final = frozenset(
    {
        "AbortMultipartUpload", "CompleteMultipartUpload", "CreateBucket", "CreateMultipartUpload", "DeleteObject", "GetObject",
        "HeadBucket", "HeadObject", "ListBuckets", "ListMultipartUploads", "ListObjectsV2", "PutObject", "UploadPart",
    }
)  # fmt: skip
"""What we ask of a store, and what boto3 asks for us: a client has these methods and no others."""


class _Plain(JSONFileLoader):  # type: ignore[misc]  # Botocore has no types.
    """Reads its files into plain dicts, which are half as large as ordered ones, and in order as well."""

    def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
        path = Path(full_path)
        if not path.is_file():
            return None
        with open_method(path, "rb") as file:
            return orjson.loads(file.read())


class _Sparing(Loader):  # type: ignore[misc]
    """Botocore's data without what we never ask for: read whole, it is 10 MB for as long as the process lives."""

    FILE_LOADER_CLASS = _Plain

    def load_data_with_path(self, name: str) -> tuple[Any, str]:
        if name == "endpoints":
            return ADDRESSES, self.BUILTIN_DATA_PATH
        found, path = super().load_data_with_path(name)
        return (_asked(found) if name.endswith("service-2") else found), path


def _asked(model: dict[str, Any]) -> dict[str, Any]:
    """Return a service's model with the operations that we ask for, and the shapes that these are made of."""
    operations = {name: one for name, one in model["operations"].items() if name in ASKED}
    shapes: dict[str, Any] = {}
    wanted = list(_shapes(operations))
    while wanted:
        if (name := wanted.pop()) not in shapes:
            shapes[name] = model["shapes"][name]
            wanted += _shapes(shapes[name])
    return model | {"operations": _mute(operations), "shapes": _mute(shapes)}


def _shapes(part: Any) -> Iterator[str]:
    """Yield the names of the shapes that a part of a model speaks of."""
    if isinstance(part, dict) and isinstance(name := part.get("shape"), str):
        yield name
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _shapes(inner)


def _mute(part: Any) -> Any:
    """Return a part of a model without the words that explain it to people."""
    if isinstance(part, dict):
        return {name: _mute(inner) for name, inner in part.items() if name != "documentation" or not isinstance(inner, str)}
    return [_mute(inner) for inner in part] if isinstance(part, list) else part


def made(settings: Settings) -> Any:
    """Return a client for the object store that the settings name; it connects at the first use."""
    session = Session()
    session.register_component("data_loader", _Sparing())
    return boto3.Session(botocore_session=session).client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        region_name=settings.s3_region,
        config=Config(
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 3},
            s3={"addressing_style": "path"},
            # Stores other than Amazon's do not all know the newer checksums; ours stand in names and manifests.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
