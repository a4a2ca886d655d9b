#!/usr/bin/env bash
# One clear sentence when Java is missing or of the wrong version; silent otherwise.
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" >/dev/null || {
  echo "setup: Java 17 or 21 is needed and '$java' was not found: install it (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME." >&2
  exit 2; }
version=$("$java" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n 1)
case "$version" in
  17 | 21) ;;
  *) echo "setup: Java 17 or 21 is needed, but '$java' is version ${version:-unknown}: set JAVA_HOME to a Java 17." >&2
     exit 2 ;;
esac
