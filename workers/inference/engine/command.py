"""The command line that runs llama.cpp: which program, which options; decided without running anything."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import machine, system

import psutil

from workers.inference.engine.errors import EngineMisconfigured
from workers.inference.engine.settings import EngineSettings

LOOPBACK = "127.0.0.1"
#: More layers than any model has: all of them.
ALL_LAYERS = 99
#: Prompt tokens read in one step. Between two steps llama.cpp notices a stop, reports progress and lets the
#: other slots go on; a CPU reads 100 to 500 tokens/s and a GPU thousands, so either way a step stays below a
#: second or so.
BATCH_CPU = 64
BATCH_GPU = 512
#: Prompts kept in main memory for the next turn of a session; llama.cpp's own default is 8 GiB.
CACHE_MIB = 256
#: What builds of the last years differ in; every other option below has always been there.
OPTIONAL = frozenset(
    [
        "--kv-unified",
        "--kv-unified-per-slot",
        "--cache-ram",
        "--fit",
        "--cors-origins",
        "--slots",
        "--metrics",
        "--offline",
        "--no-ui",
        "--no-webui",
    ]
)
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters about the computer."""

    system: str
    machine: str
    cores: int
    #: A GPU other than Apple's, which every darwin/arm64 machine has.
    gpu: bool = False

    @classmethod
    def here(cls) -> Machine:
        """The computer we run on; the device files are those of NVIDIA's and AMD's drivers."""
        gpu = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
        return cls(system().lower(), machine().lower(), psutil.cpu_count() or 1, gpu)

    def layers(self) -> int:
        """How many layers go to the GPU when nobody says.

        A build for the CPU alone warns that it ignores them, and computes as it can. It then has a GPU's batch and threads
        (above, `threads`): a stop in a long prompt is noticed later. `doctor` tells of the GPU that is left idle.
        """
        metal = self.system == "darwin" and self.machine in ("arm64", "aarch64")
        return ALL_LAYERS if metal or self.gpu else 0

    def threads(self) -> int:
        """How many threads compute when the CPU does all the work.

        They wait for each other by spinning, many times a token, so one that shares its core holds up all of them:
        with two threads on two cores and one busy neighbour 4 tokens/s were left of 110, with one thread 46.
        """
        return max(1, self.cores - 1)


@dataclass(frozen=True, slots=True)
class Program:
    """Something that takes llama-server's options."""

    argv: tuple[str, ...]
    #: The optional ones it knows.
    known: frozenset[str] = OPTIONAL
    binary: Path | None = None


def find_program(settings: EngineSettings, path: str | None = None) -> Program:
    """llama-server as set, else from `path` (default: PATH), else the xllamacpp child."""
    if settings.llama_server is not None:
        binary = shutil.which(str(settings.llama_server), path=path)
        if binary is None:
            raise EngineMisconfigured(f"MEATLIZARD_LLAMA_SERVER: {settings.llama_server} cannot be run.")
    else:
        binary = shutil.which("llama-server", path=path)
    if binary is None:
        # By file and with -P, so that a folder named `workers` where the node was started cannot stand in.
        return Program((sys.executable, "-P", str(_HERE / "host.py")))
    return Program((binary,), binary=Path(binary))


def read_options(help_text: str) -> frozenset[str]:
    """Which of the optional options `llama-server --help` lists."""
    return OPTIONAL.intersection(_OPTION.findall(help_text))


def command_line(
    program: Program, settings: EngineSettings, model: Path, port: int, key_file: Path, computer: Machine
) -> list[str]:
    """llama.cpp's whole command line. The API key goes by file: everybody here can read this list."""
    layers = computer.layers() if settings.ngl is None else settings.ngl
    line = [*program.argv, "--model", str(model), "--alias", settings.public_name()]
    line += ["--host", LOOPBACK, "--port", str(port), "--api-key-file", str(key_file)]
    line += ["-ngl", str(layers), "--parallel", str(settings.slots)]
    line += ["--ctx-size", str(settings.slots * settings.ctx_size)]
    line += ["--batch-size", str(BATCH_GPU if layers else BATCH_CPU)]
    if threads := settings.threads or (0 if layers else computer.threads()):
        line += ["--threads", str(threads)]
    return line + _optional(program.known, settings)


def _optional(known: Collection[str], settings: EngineSettings) -> list[str]:
    line: list[str] = []
    if "--kv-unified-per-slot" in known:
        # One cache for all, but no slot may take another's share: a full shared cache ends every reply at
        # once. A build that cannot cap the slots keeps them apart by itself, ctx-size / parallel each.
        line += ["--kv-unified", "--kv-unified-per-slot", str(settings.ctx_size)]
    for option, *value in (
        ("--cache-ram", str(CACHE_MIB)),
        # Too little memory is to be an error, not a smaller context than was asked for.
        ("--fit", "off"),
        # The default lets every web page read along.
        ("--cors-origins", "localhost"),
        ("--slots",),
        ("--metrics",),
        ("--offline",),
        ("--no-ui",) if "--no-ui" in known else ("--no-webui",),
    ):
        if option in known:
            line += [option, *value]
    return line


def guarded(line: Sequence[str], parent: int) -> list[str]:
    """`line`, run so that it ends with the process `parent`."""
    return [sys.executable, "-P", "-S", str(_HERE / "guard.py"), str(parent), *line]


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
