#!/usr/bin/env bash
# Installs the peers of `benchmarks/path.py`, each group in a virtual environment of its own:
#   benchmarks/install_peers.sh [DIRECTORY]     (JREG_PEERS, or ~/.cache/jreg-peers)
# glmnet comes from Debian or Ubuntu, which needs root; everything else from PyPI.
# PYTHON chooses the interpreter (python3); it must be one that all have wheels for.
set -euo pipefail
directory=${1:-${JREG_PEERS:-$HOME/.cache/jreg-peers}}
python=${PYTHON:-python3}
failed=()

# environment NAME REQUIREMENT...: an environment is installed whole or not at all
environment() {
  local home=$directory/$1
  printf '%s: %s\n' "$1" "${*:2}"
  if ! { "$python" -m venv --clear "$home" && "$home/bin/pip" install -q "${@:2}" threadpoolctl; }; then
    rm -rf "$home"
    failed+=("$1")
  fi
}

mkdir -p "$directory"
environment sklearn scikit-learn celer skglm
environment adelie adelie "numpy<2"
environment jaxopt jaxopt nemos

if Rscript -e 'library(glmnet)' >/dev/null 2>&1; then
  echo "glmnet: installed"
elif command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
  apt-get update -q && apt-get install -y -q --no-install-recommends r-base-core r-cran-glmnet ||
    failed+=("glmnet")
else
  echo "glmnet: needs R with the package glmnet (Debian: r-base-core r-cran-glmnet)"
  failed+=("glmnet")
fi

if ((${#failed[@]})); then
  echo "not installed: ${failed[*]}" >&2
  exit 1
fi
