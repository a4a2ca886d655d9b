#!/usr/bin/env bash
# A YARN of one node, and on it the worked example of PageRank in client and in cluster mode. Not part of the tests: it
# fetches 70 MB from Maven Central, needs a JDK (javac) and takes some minutes. Usage: scripts/try_yarn.sh
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD/build/yarn
maven=${MAVEN:-https://repo1.maven.org/maven2}
mkdir -p "$here/jars"
# Hadoop's own release, that of Spark's client; the others are what its mini cluster asks for and does not bring.
for jar in org/apache/hadoop/hadoop-client-minicluster/3.5.0/hadoop-client-minicluster-3.5.0.jar \
  org/junit/jupiter/junit-jupiter-api/5.10.2/junit-jupiter-api-5.10.2.jar \
  org/junit/platform/junit-platform-commons/1.10.2/junit-platform-commons-1.10.2.jar \
  org/opentest4j/opentest4j/1.3.0/opentest4j-1.3.0.jar \
  org/mockito/mockito-core/4.11.0/mockito-core-4.11.0.jar \
  org/bouncycastle/bcprov-jdk18on/1.78.1/bcprov-jdk18on-1.78.1.jar \
  org/bouncycastle/bcpkix-jdk18on/1.78.1/bcpkix-jdk18on-1.78.1.jar \
  org/bouncycastle/bcutil-jdk18on/1.78.1/bcutil-jdk18on-1.78.1.jar; do
  [ -f "$here/jars/${jar##*/}" ] || curl -sSf -o "$here/jars/${jar##*/}" "$maven/$jar"
done
spark=$(.venv/bin/python -c 'import pyspark, os; print(os.path.dirname(pyspark.__file__))')
.venv/bin/python -m hatchling build -t wheel -d "$here" >/dev/null
wheel=$(ls "$here"/lakerank-*.whl)

cd "$here"
rm -rf conf target lake-*
java -Xmx512m -cp "$here/jars/*:$spark/jars/*" "$OLDPWD/scripts/MiniYarn.java" "$here/conf" 6144 >yarn.log 2>&1 &
yarn=$!
trap 'kill $yarn' EXIT
until grep -q '^up' yarn.log; do
  kill -0 $yarn || { tail -n 20 yarn.log; exit 1; }
  sleep 1
done
python=$OLDPWD/.venv/bin/python
for mode in client cluster; do
  # One machine: its own Python and Spark's jars from the disk instead of an archive; small containers.
  HADOOP_CONF_DIR=$here/conf "$OLDPWD/.venv/bin/spark-submit" --master yarn --deploy-mode $mode \
    --properties-file "$OLDPWD/conf/spark/yarn.conf" --py-files "$wheel" \
    --conf "spark.yarn.jars=local:$spark/jars/*" --conf spark.yarn.dist.archives= \
    --conf "spark.executorEnv.PYSPARK_PYTHON=$python" --conf "spark.yarn.appMasterEnv.PYSPARK_PYTHON=$python" \
    --conf spark.executor.memory=700m --conf spark.driver.memory=700m --conf spark.executor.cores=1 \
    --conf spark.executor.instances=2 "$OLDPWD/spark_jobs/pagerank.py" --lake "$here/lake-$mode" >$mode.log 2>&1
  ls "$here/lake-$mode/ranks/_delta_log" >/dev/null && echo "yarn, $mode mode: ranks written"
done
