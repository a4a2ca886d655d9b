# Sourced by Spark's own scripts. Workers must start the environment's Python, not the system's
# (which has no numpy). SPARK_HOME is .venv/lib/pythonX.Y/site-packages/pyspark.
if [ -z "${PYSPARK_PYTHON:-}" ] && [ -x "${SPARK_HOME}/../../../../bin/python" ]; then
  PYSPARK_PYTHON="$(cd "${SPARK_HOME}/../../../../bin" && pwd)/python"
  export PYSPARK_PYTHON
fi
