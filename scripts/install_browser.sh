#!/bin/sh
# Makes sure that the tests find a Chromium: that of the system, otherwise one from apt if possible, otherwise
# Playwright's.
# Usage: install_browser.sh PATH_OF_PLAYWRIGHT
set -eu

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        echo "Browser: $(command -v "$name")"
        exit 0
    fi
done

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
fi
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    $as_root apt-get update -qq
    for name in chromium-headless-shell chromium; do
        echo "Browser: installing $name with apt-get"
        if $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$name" >/dev/null; then
            exit 0
        fi
    done
fi
echo "Browser: installing Playwright's own"
exec "$1" install chromium
