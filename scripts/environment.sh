# Shell functions for the scripts beside this file; read by `.`, not run.

# Say what goes on, apart from what commands print.
say() { printf '%s\n' "== $*" >&2; }

# Tell whether the Python $1 can be run and can make environments.
usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# Print the Python to make environments with: $PYTHON, else 3.11, else what python3 is.
choose_python() (
    for candidate in ${PYTHON:-python3.11 python3}; do
        if usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "No usable Python: need 3.10 or newer with venv (tried ${PYTHON:-python3.11, python3})."
    say "On Debian and Ubuntu, apt install python3-venv brings it; or set PYTHON=/path/to/python."
    return 1
)

# Print the Python of version $1, from the PATH or from pyenv; fail when there is none.
find_python() (
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/"python$1"; do
        if usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
)

# Make the environment $1 with the Python $2 and install the rest of the arguments; not again as long
# as the file "installed" in it says that just this was installed completely.
make_environment() (
    environment=$1 python=$2
    shift 2
    wanted="$("$python" -V) $*"
    case $1 in -e) wanted="$wanted $(cksum <setup.py)" ;; esac
    if [ "$(cat "$environment/installed" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "Making $environment with $("$python" -V) and installing: $*"
    "$python" -m venv --clear "$environment" &&
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@" &&
        printf '%s\n' "$wanted" >"$environment/installed"
)
