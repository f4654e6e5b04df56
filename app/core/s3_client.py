"""The client of the object store: boto3's, without what botocore would load of Amazon's other services."""

from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.loaders import Loader
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


class _Sparing(Loader):  # type: ignore[misc]  # Botocore has no types.
    """Botocore's data without `endpoints.json`: read whole, it is 7 MB for as long as the process lives."""

    def load_data_with_path(self, name: str) -> tuple[Any, str]:
        if name == "endpoints":
            return ADDRESSES, self.BUILTIN_DATA_PATH
        found: tuple[Any, str] = super().load_data_with_path(name)
        return found


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
