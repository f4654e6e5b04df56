"""The command line, decided for computers and builds that are not here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from xllamacpp import CommonParams

from workers.inference.engine import EngineSettings, host
from workers.inference.engine.command import (
    OPTIONAL,
    Machine,
    Program,
    command_line,
    find_program,
    free_port,
    guarded,
    read_options,
)

MAC = Machine("darwin", "arm64", cores=8)
PC = Machine("linux", "x86_64", cores=8)
GAMING_PC = Machine("linux", "x86_64", cores=8, gpu=True)
#: As an older llama-server prints them.
OLD_HELP = """
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
--metrics                               enable prometheus compatible metrics endpoint
--slots, --no-slots                     enable slots monitoring endpoint
--no-webui                              Disable the Web UI (see also --no-webui-is-not-this)
"""


def line_for(computer: Machine, settings: EngineSettings, known: frozenset[str] = OPTIONAL) -> list[str]:
    program = Program(("llama-server",), known)
    return command_line(program, settings, Path("/models/a b.gguf"), 4242, Path("/run/key"), computer)


def value(line: list[str], option: str) -> str:
    return line[line.index(option) + 1]


@pytest.mark.parametrize(("computer", "layers"), [(MAC, "99"), (PC, "0"), (GAMING_PC, "99")])
def test_layers_go_to_the_gpu_where_there_is_one(settings: EngineSettings, computer: Machine, layers: str) -> None:
    assert value(line_for(computer, settings), "-ngl") == layers
    assert value(line_for(computer, replace(settings, ngl=12)), "-ngl") == "12"


def test_every_limit_is_explicit(settings: EngineSettings) -> None:
    line = line_for(MAC, replace(settings, slots=4, ctx_size=8192))
    assert value(line, "--model") == "/models/a b.gguf"
    assert value(line, "--host") == "127.0.0.1"
    assert value(line, "--port") == "4242"
    assert value(line, "--parallel") == "4"
    assert value(line, "--ctx-size") == "32768"
    assert "--kv-unified" in line
    assert value(line, "--kv-unified-per-slot") == "8192"
    assert value(line, "--api-key-file") == "/run/key"
    assert value(line, "--cors-origins") == "localhost"
    assert {"--no-ui", "--metrics", "--offline", "--slots"} <= set(line)
    assert "--no-webui" not in line


def test_threads_leave_a_core_to_the_others(settings: EngineSettings) -> None:
    assert value(line_for(PC, settings), "--threads") == "7"
    assert value(line_for(replace(PC, cores=1), settings), "--threads") == "1"
    assert "--threads" not in line_for(MAC, settings)
    assert value(line_for(MAC, replace(settings, threads=3)), "--threads") == "3"


def test_an_older_build_gets_only_what_it_knows(settings: EngineSettings) -> None:
    known = read_options(OLD_HELP)
    assert known == {"--metrics", "--slots", "--no-webui"}
    line = line_for(PC, settings, known)
    assert "--no-webui" in line
    assert "--kv-unified" not in line
    assert "--offline" not in line


def test_a_binary_on_path_is_preferred_to_the_library(settings: EngineSettings, llama_server: Path) -> None:
    assert find_program(settings, str(llama_server.parent)).binary == llama_server
    fallback = find_program(settings, "/nowhere")
    assert fallback.binary is None
    assert fallback.argv[-1].endswith("host.py")


def test_the_library_takes_the_same_options(settings: EngineSettings, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    line = command_line(Program(()), settings, Path("m.gguf"), 4242, key, MAC)
    given = host.options().parse_args(line)
    params = CommonParams()
    host.configure(params, given)
    assert params.model.path == "m.gguf"
    assert params.hostnames == ["127.0.0.1"]
    assert params.port == 4242
    assert params.n_gpu_layers == 99
    assert params.n_parallel == 2
    assert params.n_ctx == 1024
    assert params.kv_unified
    assert params.kv_unified_per_slot == 512
    assert params.api_keys == ["secret"]
    assert not params.ui
    assert params.endpoint_slots
    assert params.endpoint_metrics
    assert params.offline


def test_the_guard_refuses_a_parent_that_is_gone() -> None:
    done = subprocess.run(guarded(["true"], os.getpid() + 1_000_000), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "parent is gone" in done.stderr
    assert subprocess.run(guarded([sys.executable, "-c", "exit(7)"], os.getpid()), check=False).returncode == 7


def test_a_free_port_is_free() -> None:
    assert 1024 < free_port() < 65_536
