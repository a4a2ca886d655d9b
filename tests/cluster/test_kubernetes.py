"""What spark-submit makes of conf/spark/k8s.conf for Kubernetes; its server is played by the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests_root import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    """An API server that agrees to everything: its address, and what it was asked to make, by kind."""
    made: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made[asked["kind"]] = asked | {"path": self.path}
            asked["metadata"] |= {"uid": "1", "resourceVersion": "1"}
            answer = json.dumps(asked).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PATCH = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"k8s://http://127.0.0.1:{server.server_port}", made
    server.shutdown()
    server.server_close()


def test_the_driver_has_image_account_memory_and_the_shared_folder(server: tuple[str, dict[str, Any]]) -> None:
    master, made = server
    submit, conf = Path(sys.executable).parent / "spark-submit", ROOT / "conf" / "spark"
    command = [submit, "--master", master, "--deploy-mode", "cluster", "--properties-file", conf / "k8s.conf"]
    command += ["--name", "ranks", "--conf", "spark.kubernetes.submission.waitAppCompletion=false"]
    command += ["local:///opt/lakerank/spark_jobs/pagerank.py", "--scratch", "/scratch"]
    done = subprocess.run(command, env={**os.environ, "SPARK_CONF_DIR": str(conf)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert made["Pod"]["path"] == "/api/v1/namespaces/lakerank/pods"
    spec = made["Pod"]["spec"]
    assert spec["serviceAccountName"] == "lakerank"
    (driver,) = spec["containers"]
    assert driver["image"] == "registry.example.org/lakerank:0.1.0"
    assert driver["resources"]["limits"]["memory"] == "5734Mi"  # 4 GiB, and 40 % for Python
    assert driver["args"][-3:] == ["local:///opt/lakerank/spark_jobs/pagerank.py", "--scratch", "/scratch"]
    assert ("scratch", "/scratch") in [(mount["name"], mount["mountPath"]) for mount in driver["volumeMounts"]]
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if volume["name"] == "scratch"]
    assert claims == ["lakerank-scratch"]
    # The executors' share comes with the driver, as a file.
    assert "spark.executor.memoryOverheadFactor=1.0" in made["ConfigMap"]["data"]["spark.properties"]
