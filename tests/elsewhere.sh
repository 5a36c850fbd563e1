#!/usr/bin/env bash
# The suite where it was not written: `make test-elsewhere`. Each row is the project under another
# processor, number of threads or surroundings; a row that fails is named, and so is the whole.
#     bash tests/elsewhere.sh PYTHON ROW ...
set -uo pipefail
python=$(realpath -s "$1")
shift
fast=(-m "(not slow or notebook) and not nightly")  # and every notebook comparison, slow or not
failed=()
unset PYTHONDONTWRITEBYTECODE  # each process finds the modules compiled

suite() { "$python" -m pytest -n "${WORKERS:-2}" -p no:cacheprovider "$@"; }

run_row() {
  case $1 in
    kernels)  # the plain kernels of torch, MKL, oneDNN and OpenBLAS: the whole suite
      env ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 \
        OPENBLAS_CORETYPE="${OTHER_CORE:-$(other_core)}" OMP_NUM_THREADS=1 \
        "$python" -m pytest -n "${WORKERS:-2}" -p no:cacheprovider -m "not nightly" ;;
    one-thread)
      export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
      suite "${fast[@]}" ;;
    two-threads)
      export OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2
      WORKERS=1 suite "${fast[@]}" ;;
    surroundings)  # another locale, time zone, width and hash seed; a path with a space and an umlaut
      folder=$(mktemp -d)/"gnivo müde"
      git clone -q . "$folder"
      GNIVO_SHARED=$(realpath "${GNIVO_SHARED:-../shared}")
      export GNIVO_SHARED LC_ALL=C TZ=Asia/Kathmandu COLUMNS=40 PYTHONHASHSEED=1 OMP_NUM_THREADS=1
      # The clone stands before the installed project, here and in every process that it starts.
      export PYTHONPATH=$folder
      cd "$folder"
      suite "${fast[@]}" ;;
    *)
      echo "there is no row $1; rows: kernels, one-thread, two-threads, surroundings" >&2
      return 2 ;;
  esac
}

# A core that OpenBLAS has kernels for on this architecture, and does not choose here by itself.
other_core() {
  case $(uname -m) in
    x86_64) echo Nehalem ;;
    *) echo ARMV8 ;;
  esac
}

for row in "$@"; do
  start=$SECONDS
  echo "== $row"
  if (run_row "$row"); then
    echo "== $row: green in $((SECONDS - start)) s"
  else
    echo "== $row: FAILED after $((SECONDS - start)) s"
    failed+=("$row")
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
