"""A llama-server made of the xllamacpp library: the same options, the same HTTP API, in a process of its own.

Used where no llama-server binary is installed. Takes those of llama-server's options that `command` gives, so that
one command line starts both. Stands alone: it imports nothing of ours and starts from anywhere.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

import xllamacpp


def options() -> argparse.ArgumentParser:
    """llama-server's options, as far as `command` uses them."""
    parser = argparse.ArgumentParser(prog="llama-server (xllamacpp)", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("-ngl", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--threads", type=int, default=-1)
    parser.add_argument("--api-key-file", type=Path, required=True)
    parser.add_argument("--kv-unified", action="store_true")
    parser.add_argument("--kv-unified-per-slot", type=int, default=0)
    parser.add_argument("--cache-ram", type=int, default=0)
    parser.add_argument("--fit", choices=("on", "off"), default="off")
    parser.add_argument("--cors-origins", default="localhost")
    parser.add_argument("--slots", action="store_true")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--no-ui", action="store_true")
    return parser


def configure(params: Any, given: argparse.Namespace) -> None:
    """Set on xllamacpp's `CommonParams` what llama-server would set from its options."""
    params.model.path = given.model
    params.model_alias = {given.alias}
    params.hostnames = [given.host]
    params.port = given.port
    params.api_keys = given.api_key_file.read_text().split()
    params.n_gpu_layers = given.ngl
    params.n_parallel = given.parallel
    params.n_ctx = given.ctx_size
    params.n_batch = given.batch_size
    params.n_ubatch = min(params.n_ubatch, given.batch_size)
    params.cpuparams.n_threads = given.threads
    params.kv_unified = given.kv_unified
    params.kv_unified_per_slot = given.kv_unified_per_slot
    params.cache_ram_mib = given.cache_ram
    params.fit_params = given.fit == "on"
    params.cors_origins = given.cors_origins
    params.endpoint_slots = given.slots
    params.endpoint_metrics = given.metrics
    params.offline = given.offline
    params.ui = not given.no_ui


def main() -> None:
    """Load the model, serve until killed; SIGTERM keeps its default action, which ends the process at once."""
    params = xllamacpp.CommonParams()
    configure(params, options().parse_args())
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        # llama.cpp has said why on stderr; a Python traceback would only push that out of sight.
        sys.exit(1)
    print(f"srv          host: listening on {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
