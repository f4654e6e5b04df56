"""The servers that the tests stand on are real, private and empty."""

import boto3

from app.core import migrate
from app.core.config import settings
from app.core.db import engine
from tests.support.servers import Servers


def test_database_is_migrated(servers: Servers) -> None:
    assert migrate.current(settings().database_url.get_secret_value())
    assert engine().dialect.name == "postgresql"


def test_object_store_keeps_what_it_is_given(servers: Servers) -> None:
    store = boto3.client(
        "s3",
        endpoint_url=settings().s3_endpoint,
        aws_access_key_id=settings().s3_access_key,
        aws_secret_access_key=settings().s3_secret_key.get_secret_value(),
        region_name=settings().s3_region,
    )
    store.put_object(Bucket=settings().s3_bucket, Key="sealed", Body=b"bytes")
    assert store.get_object(Bucket=settings().s3_bucket, Key="sealed")["Body"].read() == b"bytes"
