#!/usr/bin/env bash
# Creates .venv from the locked requirements and places the jars of Delta and S3 beside Spark's own.
# Idempotent: a finished environment is recognised by .venv/.ready, which holds the inputs' checksum.
# Offline: LAKERANK_JARS=DIR takes the jars from a folder instead of Maven Central.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "setup: $*" >&2; exit 2; }

want=$(cat requirements.lock pyproject.toml scripts/setup.sh | cksum)
[ "$(cat .venv/.ready 2>/dev/null)" = "$want $PWD" ] && exit 0

# --- what the machine must bring, each missing thing said in one sentence
python=${PYTHON:-$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)}
{ [ -n "$python" ] && command -v "$python" >/dev/null; } ||
  fail "Python 3.11, 3.12 or 3.13 is needed and ${python:-python3} was not found: install it or set PYTHON=/path/to/python3.11."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null ||
  fail "Python 3.11, 3.12 or 3.13 is needed, but $python is $("$python" --version 2>&1 || true): set PYTHON=/path/to/python3.11."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$python cannot make virtual environments: install its venv package (Debian: apt-get install python3-venv)."
scripts/check_java.sh || exit 2

echo "setup: creating .venv with $("$python" --version) (about a minute, once)"
mkdir -p build
log=build/setup.log
quietly() { "$@" >"$log" 2>&1 || { tail -n 15 "$log" >&2; fail "'$1 … ${*: -1}' failed (full log: $log)."; }; }
rm -rf .venv
quietly "$python" -m venv .venv
# uv, pinned: it installs the lock in seconds and checks every hash.
# The system's certificates, as pip does: a company's proxy is trusted there and nowhere else.
export UV_SYSTEM_CERTS=true
quietly .venv/bin/python -m pip install --disable-pip-version-check uv==0.13.9
quietly .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements.lock
quietly .venv/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation -e .

spark_home=$(.venv/bin/python -c 'import pyspark, os; print(os.path.dirname(pyspark.__file__))')
# Our Spark settings, for spark-submit and plain python alike. A copy in .venv/bin of Spark's own finder
# script cannot see the package when another python3 is first on the PATH; a link to the original can.
ln -sfn "$PWD/conf/spark" "$spark_home/conf"
ln -sf "$spark_home/find_spark_home.py" .venv/bin/find_spark_home.py

echo "setup: placing the jars of Delta and S3 (about a minute, once)"
if [ -n "${LAKERANK_JARS:-}" ]; then
  ls "$LAKERANK_JARS"/*delta-spark*.jar >/dev/null 2>&1 || fail "LAKERANK_JARS=$LAKERANK_JARS holds no delta-spark jar."
  jars=$LAKERANK_JARS
else
  told() { .venv/bin/python -c "from lakerank.spark import session; print(session.$1)"; }
  packages=$(told DELTA_PACKAGE),$(told S3_PACKAGES)
  # An Ivy folder of our own: a half-filled ~/.m2 or ~/.ivy2 of other tools breaks the resolution.
  noop=build/noop.py; echo pass > "$noop"
  quietly .venv/bin/spark-submit --master 'local[1]' --conf spark.jars.ivy="$PWD/.venv/ivy" \
    --exclude-packages "$(told S3_EXCLUDED)" --packages "$packages" "$noop"
  jars=.venv/ivy/jars
fi
.venv/bin/python scripts/place_jars.py "$jars" "$spark_home/jars"
rm -rf .venv/ivy
echo "$want $PWD" > .venv/.ready
echo "setup: done"
