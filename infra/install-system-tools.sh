#!/bin/sh
# Install what pip cannot: ffmpeg with ffprobe, libnuma (vLLM on the CPU loads it), and Python's venv module where the
# distribution splits it off.
# Does nothing where they are there already. Further packages may be named as arguments.
set -eu

python="${PYTHON:-python3}"
missing="$*"
command -v ffmpeg >/dev/null 2>&1 && command -v ffprobe >/dev/null 2>&1 || missing="$missing ffmpeg"
"$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' >/dev/null 2>&1 || missing="$missing libnuma1"
"$python" -c 'import ensurepip' >/dev/null 2>&1 ||
    missing="$missing $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Please install with your package manager, then run this again:$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "Please run as root: apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi
echo "installing$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $missing
