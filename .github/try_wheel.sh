#!/usr/bin/env bash
# Install a wheel into an empty environment, and use it where no clone is: .github/try_wheel.sh WHEEL
set -euo pipefail
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(mktemp -d)"
python3 -m venv empty
# PIP_FLAGS are several words.
# shellcheck disable=SC2086
empty/bin/pip install -q ${PIP_FLAGS:-} "$wheel"
PATH=$PWD/empty/bin:$PATH
gnivo-edu start course
gnivo-edu demo
gnivo-edu verify --env Brackets --alpha 0.5 --group-size 2
gnivo-edu check course/notebooks/00_which_step.ipynb
gnivo-edu build-course --release handout --only 00_which_step
gnivo-edu lab --dry-run
