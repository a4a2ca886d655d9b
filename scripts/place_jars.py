"""Copy the jars of a resolved package into Spark's own jar folder, leaving out what Spark already ships.

Usage: place_jars.py RESOLVED_DIR SPARK_JARS_DIR

Why not `spark.jars.packages`: it starts Ivy at every session start, needs the network or a warm cache,
and cannot be set once spark-submit has started the JVM. A jar in the jar folder just works, also for
Spark Connect's local server (docs/adr/0002).
"""

import re
import shutil
import sys
from pathlib import Path


def artifact(jar: str) -> str:
    """Name without version: `delta-storage-4.4.0.jar` → `delta-storage`."""
    return re.sub(r"-\d[\w.\-]*\.jar$", "", jar)


def main() -> None:
    """Copy, and say how many."""
    source, target = map(Path, sys.argv[1:3])
    present = {artifact(jar.name) for jar in target.glob("*.jar")}
    placed = 0
    for jar in sorted(source.glob("*.jar")):
        name = jar.name.split("_", 1)[-1] if "_" in jar.name else jar.name  # Ivy prefixes the group
        if artifact(name) not in present or (target / name).exists():
            shutil.copyfile(jar, target / name)
            placed += 1
    if placed == 0:
        sys.exit(f"setup: {source} holds no jar that Spark lacks")
    print(f"setup: placed {placed} jars")


if __name__ == "__main__":
    main()
