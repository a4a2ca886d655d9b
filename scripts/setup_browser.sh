#!/usr/bin/env bash
# Chromium for the test of the search page, where it is missing and may be installed; never an error.
set -uo pipefail
for name in chromium chromium-headless-shell google-chrome; do
  if command -v "$name" >/dev/null; then
    echo "browser: $(command -v "$name")"
    exit 0
  fi
done
if ! command -v apt-get >/dev/null; then
  echo "browser: none here; install Chromium to run tests/webapp/test_server.py whole (without it that part is skipped)"
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "browser: none here; run \`sudo apt-get install chromium\` (without it the browser's test is skipped)"
  exit 0
fi
# Ubuntu's package is a stub that wants snap, which containers lack: Debian's is a browser.
if grep -qs '^ID=ubuntu' /etc/os-release; then
  echo "browser: none here; Ubuntu has Chromium as a snap only: \`snap install chromium\`, or install google-chrome"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; then
  echo "browser: $(command -v chromium)"
else
  echo "browser: apt-get could not install Chromium; its test is skipped"
fi
exit 0
