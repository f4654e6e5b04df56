"""What is missing for the engine is said before anything is started."""

import socket
from pathlib import Path

import pytest

from app.local import doctor, engine, envfile, node, settings
from app.local.errors import MissingPart
from app.local.home import Home
from app.local.settings import Settings
from workers.inference.engine.command import Machine

KNOWN = Settings({"REDIS_URL": "redis://platform:secret@127.0.0.1:6379/0"})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One that the shell says nothing of, with its settings file."""
    made = Home.at(tmp_path / "home")
    made.make()
    envfile.update(made.settings, {"HOST": "127.0.0.1"}, "")
    return made


def missing(_: str) -> object:
    raise OSError("cannot open shared object file")


def test_a_missing_library_is_named_with_its_package() -> None:
    with pytest.raises(MissingPart, match="apt install libgomp1"):
        engine.check("linux", missing)


def test_where_it_is_not_needed_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.check("darwin", missing)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MEATLIZARD_LLAMA_URL", f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        engine.check("linux", missing)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8080", "http://127.0.0.1:99999", "ftp://here"])
def test_a_server_that_does_not_answer_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEATLIZARD_LLAMA_URL", url)
    with pytest.raises(MissingPart, match="MEATLIZARD_LLAMA_URL"):
        engine.check()


def test_here_it_is_there() -> None:
    engine.check()


def test_a_server_named_in_the_settings_file_is_taken_and_handed_to_the_nodes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEATLIZARD_LLAMA_URL", raising=False)
    assert engine.served(home) == ""
    envfile.update(home.settings, {"LLAMA_URL": "http://127.0.0.1:1", "MODEL_NAME": "llama3.2"}, "")
    with pytest.raises(MissingPart, match="nothing answers at MEATLIZARD_LLAMA_URL"):
        engine.check(home=home)
    handed = settings.environment(home)
    assert (handed["MEATLIZARD_LLAMA_URL"], handed["MEATLIZARD_MODEL_NAME"]) == ("http://127.0.0.1:1", "llama3.2")
    monkeypatch.setenv("MEATLIZARD_LLAMA_URL", "http://127.0.0.1:2")
    assert engine.served(home) == settings.environment(home)["MEATLIZARD_LLAMA_URL"] == "http://127.0.0.1:2"


def test_a_models_name_goes_with_its_file_unless_a_person_gave_it(home: Home) -> None:
    def said(model: Path | None) -> tuple[str | None, str | None]:
        node.write(home, KNOWN, "home", model, "queue")
        found = envfile.read(node.file(home, "home"))
        return found.get("MODEL"), found.get("MODEL_NAME")

    assert said(Path("/m/small.Q4.gguf")) == ("/m/small.Q4.gguf", "small.Q4")
    assert said(Path("/m/large.gguf")) == ("/m/large.gguf", "large")
    assert said(None) == (None, None)
    said(Path("/m/large.gguf"))
    envfile.update(node.file(home, "home"), {"MODEL_NAME": "Lizzy"}, "")
    assert said(Path("/m/other.gguf")) == ("/m/other.gguf", "Lizzy")
    assert said(None)[1] == "Lizzy"


@pytest.mark.parametrize("gpu", [True, False])
def test_the_doctor_tells_of_a_gpu_that_the_engine_leaves_idle(gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls: Machine("linux", "x86_64", cores=8, gpu=gpu)))
    monkeypatch.setenv("PATH", "")
    for name in ("MEATLIZARD_LLAMA_URL", "MEATLIZARD_LLAMA_SERVER"):
        monkeypatch.delenv(name, raising=False)
    found = next(one for one in doctor.examine(Home.at(tmp_path / "none")) if one.part == "engine")
    assert found.ok
    assert ("GPU idle" in found.seen) is gpu
