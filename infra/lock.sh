#!/bin/sh
# Resolve pyproject.toml into pinned lists for CPython 3.11, 3.12 and 3.13 on Linux. Argument: the uv to use.
# cpu.txt and gpu.txt: what a job needs at run time. evaluate.txt and dev.txt: what jobs.evaluate and development need
# beside either of them, with the same pins. Pins that stand in the files are kept; delete a package's lines to renew it.
# Each pin has the SHA-256 of all its files. Only torch's CPU build has none: what is found of it may be one wheel of many.
set -eu

links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT

compile() {
    "$@" --universal --python-version 3.11 --no-annotate --no-header --quiet --no-emit-index-url --no-emit-find-links \
        --generate-hashes
}

# torch's CPU build: from where pip finds wheels, if it does, else from PyTorch's own index. A folder may hold the wheel
# for one Python only; its metadata, all that uv reads, are those of the others, too.
if [ -d "${PIP_FIND_LINKS:-}" ]; then
    for wheel in "$PIP_FIND_LINKS"/torch-*+cpu-cp3*.whl; do
        release=$(basename "$wheel" | sed 's/-cp3.*//')
        for python in cp311 cp312 cp313; do
            for machine in x86_64 aarch64; do
                ln -sf "$wheel" "$links/$release-$python-$python-manylinux_2_28_$machine.whl"
            done
        done
    done
    torch="--find-links $links"
elif [ -n "${PIP_FIND_LINKS:-}" ]; then
    torch="--find-links $PIP_FIND_LINKS"
else
    torch="--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match"
fi
# shellcheck disable=SC2086
compile "$1" pip compile pyproject.toml --extra cpu -o requirements/cpu.txt $torch
# What the lock for the CPU must not have (tool.uv), vLLM's classes for some models import: on GPUs it is there.
sed '/^exclude-dependencies/d' pyproject.toml > "$links/pyproject.toml"
compile "$1" --directory "$links" pip compile pyproject.toml --extra gpu -o "$PWD/requirements/gpu.txt"
compile "$1" pip compile pyproject.toml --extra evaluate -c requirements/cpu.txt -o requirements/evaluate.txt
compile "$1" pip compile pyproject.toml --extra evaluate --extra dev -c requirements/cpu.txt -o requirements/dev.txt

# Leave out the markers that every pin has: those of pyproject.toml's environments. A pin ends in " \" before its hashes.
linux="platform_python_implementation == 'CPython' and sys_platform == 'linux'"
sed -i -E "s/ and \(\(platform_machine == 'aarch64' and $linux\) or \(platform_machine == 'x86_64' and $linux\)\)//
    s/ and $linux( \\\\|)\$/\1/
    s/ ; python_full_version < '3.14'( \\\\|)\$/\1/
    s/python_full_version < '3.14' and //" requirements/*.txt
sed -i -E '/^torch==[^ ]*\+cpu.*\\$/,/[^\\]$/ { /^ /d; s/ \\$//; }' requirements/cpu.txt
