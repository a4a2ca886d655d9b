# Sourced by Spark's own scripts. Workers must start the environment's Python, not the system's
# (which has no numpy). SPARK_HOME is .venv/lib/pythonX.Y/site-packages/pyspark.
if [ -z "${PYSPARK_PYTHON:-}" ] && [ -x "${SPARK_HOME}/../../../../bin/python" ]; then
  PYSPARK_PYTHON="$(cd "${SPARK_HOME}/../../../../bin" && pwd)/python"
  export PYSPARK_PYTHON
fi
# Java is looked for before Spark does, whose own words for a missing one are "bad array subscript".
if ! command -v "${JAVA_HOME:+$JAVA_HOME/bin/}java" >/dev/null; then
  echo "Java 17 or 21 is needed and '${JAVA_HOME:+$JAVA_HOME/bin/}java' was not found: install it or set JAVA_HOME" >&2
  exit 2
fi
