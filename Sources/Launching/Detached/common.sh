#!/bin/sh
# What stands before agent.sh, and before slurm.sh on a cluster's login node.

# On the machine that Rollcall runs on: the soft limit of open files as it was before it raised it for itself.
if [ -n "${ROLLCALL_OPEN_FILES-}" ]; then
  ulimit -Sn "$ROLLCALL_OPEN_FILES" 2>/dev/null
  unset ROLLCALL_OPEN_FILES
fi

say() { printf '@%s %s\n' "$nonce" "$*"; }

# Seconds since boot, whatever is done to the clock.
uptime_seconds() { read -r up _ </proc/uptime; echo "${up%%.*}"; }

# One line, without control characters.
one_line() { tr -s '\n\t\r' '   ' | tr -d '\000-\037' | head -c 300; }

# Makes the work directory and enters it; says what keeps it from being used. Arguments: the tools that are needed.
prepare() {
  missing=
  for tool in "$@"; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
  done
  if [ -n "$missing" ]; then
    say missing "${missing# }"
    return 1
  fi
  problem=$({ mkdir -p "$workdir/attempts" "$workdir/incoming"; } 2>&1) || {
    say unusable "$(printf '%s' "$problem" | one_line)"
    return 1
  }
  cd "$workdir" || {
    say unusable "cannot enter it"
    return 1
  }
  (lock_workdir) || {
    say unusable "no lock can be had in it (flock); a network file system without locks cannot be used"
    return 1
  }
}

