#!/bin/sh
# Makes sure that the tests find a NATS server: the system's, else Debian's from apt, without starting one.
set -eu

if command -v nats-server >/dev/null; then
    echo "NATS: $(command -v nats-server)"
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
fi
echo "NATS: installing with apt-get"
# A policy of "do not start" for the time of the installation: the tests start servers of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nats-server >/dev/null
