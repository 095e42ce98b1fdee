#!/bin/sh
# Makes .venv as uv.lock says, on a machine that has nothing but Python. Run by the Makefile.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%24s  %s\n' environment "$*" >&2; }
stop() { printf '\n%s\n' "$*" >&2; exit 1; }

# Under sudo the environment and the caches are those of the person who called it.
if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then
    home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
    exec setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --clear-groups env HOME="$home" "$0"
fi

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
for python in .venv/bin/python python3 python3.14 python3.13 python3.12 python3.11 none; do
    is_new_enough "$python" && break
done
[ "$python" != none ] || stop "Python 3.11 or newer is needed, and there is none.
On Debian 12 or Ubuntu 24.04 and newer: sudo apt-get install python3 python3-pip
On Ubuntu 22.04: sudo apt-get install python3.11 python3-pip"

# uv comes in the version of the lock, into the cache, by whichever pip there is.
version=$(sed -n '/^name = "uv"$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/dask-k8s/uv-$version
uv=$folder/bin/uv
if [ ! -x "$uv" ]; then
    say "getting uv $version"
    for pip in "$python -m pip" "python3 -m pip" pip3; do
        $pip install --quiet --no-deps --disable-pip-version-check --target "$folder" "uv==$version" >&2 2>/dev/null && break
    done
fi
if [ ! -x "$uv" ]; then
    uv=$(command -v uv) || stop "uv is needed, and pip could not get it from PyPI, or is missing itself.
On Debian and Ubuntu: sudo apt-get install python3-pip
Or install uv yourself: https://docs.astral.sh/uv/"
fi

say "making .venv as uv.lock says, with $("$python" --version)"
# Copies: the cache may lie on another file system, where hard links fail with a warning for each file.
UV_LINK_MODE=copy VIRTUAL_ENV='' "$uv" sync --locked --quiet --python "$python" --no-python-downloads >&2
touch .venv/synced
