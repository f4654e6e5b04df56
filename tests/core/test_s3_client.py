"""The object store's client, which is spared Amazon's addresses, asks for the same as boto3's own."""

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from cryptography.fernet import Fernet
from pydantic import SecretStr

from app.core import objects, s3_client
from app.core.config import Settings


class Seen(Exception):
    """What would have been sent."""


def asked(region: str) -> tuple[str, ...]:
    """Return what a client would ask: method, address, key, region and service it is signed for, and the headers signed."""
    client = s3_client.made(
        Settings(
            database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
            redis_url=SecretStr("redis://127.0.0.1:1"),
            keys=SecretStr(Fernet.generate_key().decode()),
            s3_endpoint="https://store.example:9000",
            s3_access_key="key",
            s3_secret_key=SecretStr("secret"),
            s3_region=region,
        )
    )

    def stop(request: Any, **_: Any) -> None:
        words = request.headers["Authorization"]
        scope, signed, _ = (words.decode() if isinstance(words, bytes) else words).split(", ")
        key, _, *of = scope.split("/")  # Without the day: it may end between two questions.
        raise Seen(request.method, request.url, key, *of, signed)

    client.meta.events.register("before-send.s3", stop)
    with pytest.raises(Seen) as seen:
        client.put_object(Bucket="kept", Key="a/b c", Body=b"bytes")
    return seen.value.args


# The first is the one region that botocore takes for none in particular; the last two are not Amazon's.
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "auto", "garage"])
def test_our_client_asks_as_boto3s_own_does(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = asked(region)
    assert region in ours
    monkeypatch.setattr(s3_client, "_Sparing", Loader)
    assert ours == asked(region)


def test_our_client_loads_no_addresses_of_amazons(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Loader.load_data_with_path
    monkeypatch.setattr(Loader, "load_data_with_path", lambda self, name: loaded.append(name) or load(self, name))
    asked("us-east-1")
    assert loaded
    assert "endpoints" not in loaded


def test_our_client_can_do_what_we_ask_and_no_more() -> None:
    client = s3_client.made(
        Settings(
            database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
            redis_url=SecretStr("redis://127.0.0.1:1"),
            keys=SecretStr(Fernet.generate_key().decode()),
            s3_endpoint="https://store.example:9000",
        )
    )
    assert set(client.meta.service_model.operation_names) == s3_client.ASKED
    source = Path(objects.__file__).read_text()
    for method in set(re.findall(r"client\(\)\.([a-z_]+)\(", source)) - {"get_paginator"}:
        assert callable(getattr(client, method)), method
    assert client.can_paginate("list_objects_v2")
    assert "documentation" not in str(client.meta.service_model.shape_for("GetObjectRequest").metadata)
