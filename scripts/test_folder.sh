#!/bin/sh
# Print where tests keep their temporary files: in memory, if there is enough of it. Hundreds of databases and spools wait
# for every commit to reach the disk, and a disk that several workers use is slow.
needed=$((8 * 1024 * 1024))
free() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }
memory=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo 2>/dev/null)
if [ "$(free /dev/shm || echo 0)" -gt "$needed" ] 2>/dev/null && [ "${memory:-0}" -gt "$needed" ]; then
    echo /dev/shm
else
    echo "${TMPDIR:-/tmp}"
fi
