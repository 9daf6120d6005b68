#!/bin/sh
# Resolve pyproject.toml into pinned lists for Linux on x86_64 with Python 3.11. Argument: the uv to use.
# cpu.txt and gpu.txt: what a job needs at run time. evaluate.txt and dev.txt: what jobs.evaluate and development need
# beside either of them, with the same pins. Pins that stand in the files are kept; delete a line to renew it.
set -eu

compile() {
    "$@" --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header --quiet \
        --no-emit-index-url --no-emit-find-links
}

# torch's CPU build: from where pip finds wheels, if it does, else from PyTorch's own index.
if [ -n "${PIP_FIND_LINKS:-}" ]; then
    torch="--find-links $PIP_FIND_LINKS"
else
    torch="--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match"
fi
# shellcheck disable=SC2086
compile "$1" pip compile pyproject.toml --extra cpu -o requirements/cpu.txt $torch
compile "$1" pip compile pyproject.toml --extra gpu -o requirements/gpu.txt
compile "$1" pip compile pyproject.toml --extra evaluate -c requirements/cpu.txt -o requirements/evaluate.txt
compile "$1" pip compile pyproject.toml --extra evaluate --extra dev -c requirements/cpu.txt -o requirements/dev.txt
