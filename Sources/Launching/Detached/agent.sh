# What Rollcall runs on a host: starts, observes and stops attempts (the run directory contract).
#
#   agent.sh NONCE VERB WORKDIR LEASEDIR GPUS [ARGUMENT...]
#
# Every line of an answer begins with "@NONCE ". GPUS is "auto" or how many there are. Needs a POSIX shell, coreutils,
# grep, and util-linux (flock, setsid). A copy of this file is each attempt's launch.sh, its supervisor:
#
#   launch.sh - supervise WORKDIR LEASEDIR GPUS DIRECTORY [SKEW]
#
# Many plain runs at once have one supervisor together, the crew below.
#
# A process costs more than all that this shell does by itself in the same time: what every run passes through uses
# none where it can.
#
# A launch leaves its name in the work directory's `begun`, on the disk before its supervisor starts: where its run
# directory is gone, it is not started again. It goes with the run's dumps.
#
# File descriptor 9 is the work directory's launch lock; 3 the host's lock; 4 to 8, and with bash 30 and up, GPU locks.

nonce=$1 verb=$2 workdir=$3 leases=$4 declared=$5
shift 5
grace=10
newline='
'

boot_id() { { read -r id </proc/sys/kernel/random/boot_id; } 2>/dev/null && echo "$id" || stat -c %Y /proc/1 2>/dev/null; }
{ read -r this_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || this_boot=$(boot_id)

# Sets uptime: hundredths of a second since boot.
look_at_uptime() {
  read -r uptime _ </proc/uptime
  uptime=${uptime%.*}${uptime#*.}
  case $uptime in 0?*) uptime=0 ;; esac
}

# Sets skew: hundredths of a second since 1970, less those since boot.
skew=
find_skew() {
  moment=$(date +%s.%N)
  look_at_uptime
  hundredths=${moment#*.}
  skew=$((${moment%.*} * 100 + 1${hundredths%"${hundredths#??}"} - 100 - uptime))
}

# Sets moment: seconds since 1970. With a skew it is a clock that never jumps.
look_at_clock() {
  [ -n "$skew" ] || {
    moment=$(date +%s.%N)
    return
  }
  look_at_uptime
  moment=$((uptime + skew))
  hundredths=$((moment % 100 + 100))
  moment=$((moment / 100)).${hundredths#1}
}

# Sets state, parent, group, session, started of a process; false where there is none.
look_at() {
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # A name may hold blanks and parentheses: count from the last one.
  case $stat in *') '*) ;; *) return 1 ;; esac
  set -f
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  set +f
  state=$1 parent=$2 group=$3 session=$4
  shift 19
  started=$1
}

# Reads DIRECTORY/identity: boot, pid, start, and for a member of a crew its command's session. False where there is
# none. Sets how the command's processes are known: `held`, their session, and `spared`, the group in it that is not theirs.
identity() {
  boot='' pid='' start='' held=''
  { read -r boot pid start held <"$1/identity"; } 2>/dev/null
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  spared=0
  [ -n "$held" ] || held=$pid spared=$pid
  [ -n "$start" ]
}

# Same boot, same process, same start time, not a zombie.
is_alive() {
  [ "$boot" = "$this_boot" ] && look_at "$pid" && [ "$started" = "$start" ] && [ "$state" != Z ] && [ "$state" != X ]
}

# What marks the processes of an attempt: token and directory, so that equal tokens elsewhere do no harm.
mark_of() { printf '%s:%s' "$(cat "$1/token" 2>/dev/null)" "$(cd "$1" && pwd -P)"; }

# Processes of a command: of its session but not of the supervisor's group, or with the mark in their environment.
# Arguments: session, mark, group.
members() {
  {
    # Only a process whose line holds the session is worth a look of the shell's.
    for stat_file in $(grep -lsE "\) [A-Za-z] [0-9]+ [0-9]+ $1 " /proc/[0-9]*/stat 2>/dev/null); do
      number=${stat_file#/proc/}
      number=${number%/stat}
      look_at "$number" || continue
      if [ "$session" = "$1" ] && [ "$group" != "$3" ] && [ "$state" != Z ] && [ "$state" != X ]; then
        echo "$number"
      fi
    done
    grep -lzsxF "ROLLCALL_LAUNCH=$2" /proc/[0-9]*/environ 2>/dev/null |
      while read -r file; do
        file=${file#/proc/}
        echo "${file%/environ}"
      done
  } | sort -un
}

# --- How attempts stand

# Each attempt's state. Of many in one go where it can be, since this shell reads byte by byte; lists are walked side by
# side, since it takes a time that grows with the square to find something in a long one.
status() {
  running='' rest=$*
  if [ $# -gt 4 ]; then
    set -f
    say_records
    find_running
    set +f
  fi
  for id in $rest; do status_one "$id"; done
  [ -z "$running" ] || say_sizes
}

# The exit records of those in `rest` that have one; takes them out.
say_records() {
  files=
  for id in $rest; do
    [ ! -e "$workdir/attempts/$id/exit.json" ] || [ -e "$workdir/attempts/$id/.reserve" ] || files="$files $id/exit.json"
  done
  [ -n "$files" ] || return 0
  # shellcheck disable=SC2086
  lines=$(cd "$workdir/attempts" && LC_ALL=C grep -H '^{.*}$' $files 2>/dev/null)
  IFS=$newline
  # shellcheck disable=SC2086
  set -- $lines
  unset IFS
  asked=$rest rest=
  for id in $asked; do
    case ${1-} in
    "$id"/*)
      say "$id" exited "${1#*:}"
      shift
      ;;
    *) rest="$rest $id" ;;
    esac
  done
}

# Takes those out of `rest` that have a living supervisor, into `running`.
find_running() {
  files=
  for id in $rest; do [ ! -e "$workdir/attempts/$id/identity" ] || files="$files $id/identity"; done
  [ -n "$files" ] || return 0
  # shellcheck disable=SC2086
  lines=$(cd "$workdir/attempts" && LC_ALL=C grep -Hx "$this_boot [0-9][0-9]* [0-9][0-9]*\( [0-9]*\)\?" $files 2>/dev/null)
  IFS=$newline
  # shellcheck disable=SC2086
  set -- $lines
  unset IFS
  asked=$rest rest='' files='' found=''
  for id in $asked; do
    case ${1-} in
    "$id"/*)
      line=${1#* }
      pid=${line%% *} line=${line#* }
      files="$files /proc/$pid/stat" found="$found $id:$pid:${line%% *}"
      shift
      ;;
    *) rest="$rest $id" ;;
    esac
  done
  [ -n "$files" ] || return 0
  # Number, state and start; the name of a supervisor, which is a shell, has no blanks.
  # shellcheck disable=SC2046,SC2086
  set -- $(cut -d ' ' -f 1,3,22 $files 2>/dev/null)
  for entry in $found; do
    id=${entry%%:*} entry=${entry#*:}
    if [ $# -lt 3 ] || [ "$1" != "${entry%:*}" ]; then
      rest="$rest $id"
      continue
    fi
    case "$2 $3" in
    [!ZX]" ${entry#*:}")
      running="$running $id"
      # A share that is held back learns that somebody still wants it.
      keep_waiting "$workdir/attempts/$id"
      ;;
    *) rest="$rest $id" ;;
    esac
    shift 3
  done
}

# Notes in DIRECTORY of a share that is held back that somebody asked how it stands.
keep_waiting() {
  if [ -e "$1/held" ] && [ ! -e "$1/go" ]; then
    look_at_uptime
    printf '%s\n' "$uptime" 2>/dev/null >"$1/held"
  fi
}

# Reads a whole exit record into `record`; false where there is none, or what a power cut left of one.
exit_record() {
  record=
  { IFS= read -r record <"$1/exit.json"; } 2>/dev/null
  case $record in *'}') ;; *) return 1 ;; esac
}

# True where a directory was made before the host was last booted: what it stood for may have run. The file that says so,
# or of many launches the one whose name does, is on the disk before a supervisor starts.
was_before_boot() {
  made_in=
  { read -r made_in <"$1/boot"; } 2>/dev/null || for made_in in "$1"/boot.*; do made_in=${made_in##*/boot.}; done
  case $made_in in '' | '*' | "$this_boot") return 1 ;; esac
}

status_one() {
  dir=$workdir/attempts/$1
  if [ ! -d "$dir" ]; then
    say "$1" absent
  elif exit_record "$dir" && [ ! -e "$dir/.reserve" ]; then
    say "$1" exited "$record"
  elif ! identity "$dir"; then
    if was_before_boot "$dir"; then
      say "$1" lost "the host was rebooted"
    else
      made=$(stat -c %Y "$dir" 2>/dev/null || date +%s)
      say "$1" claimed "$(($(date +%s) - made))"
    fi
  elif is_alive; then
    running="$running $1"
    keep_waiting "$dir"
  elif exit_record "$dir" && { [ ! -e "$dir/.reserve" ] || sync "$dir/exit.json" 2>/dev/null; }; then
    # It ended while we looked, or its leader before it could send the record to disk.
    say "$1" exited "$record"
  elif [ "$boot" != "$this_boot" ]; then
    say "$1" lost "the host was rebooted"
  else
    say "$1" lost "its supervisor was killed; $(members "$held" "$(mark_of "$dir")" "$spared" | grep -c .) of its processes live"
  fi
}

# The bytes that each running attempt has written to its logs.
say_sizes() {
  files=
  for id in $running; do
    for file in "$id/stdout.log" "$id/stderr.log"; do
      if [ -s "$workdir/attempts/$file" ]; then files="$files $file"; fi
    done
  done
  set --
  # shellcheck disable=SC2046,SC2086
  [ -z "$files" ] || set -- $(cd "$workdir/attempts" && LC_ALL=C stat -c '%n %s' $files 2>/dev/null)
  for id in $running; do
    bytes=0
    while [ $# -gt 1 ]; do
      case $1 in "$id"/*) bytes=$((bytes + $2)) ;; *) break ;; esac
      shift 2
    done
    say "$id" running "$bytes"
  done
}

# What is asked most often is asked of a shell that reads no further.
if [ "$verb" = status ]; then
  status "$@"
  exit
fi

# True where none of our processes is left, for sure: whatever the command started has a number above the
# supervisor's, so that a look at these few will do, as long as numbers cannot have come round since it began.
# Argument: mark.
is_alone() {
  look_at_uptime
  { read -r most </proc/sys/kernel/pid_max && read -r _ _ _ _ last </proc/loadavg; } 2>/dev/null || return 1
  # At most a thousand processes in a hundredth of a second.
  [ $(((uptime - self_begin + 1) * 1000)) -lt "$most" ] && [ "$last" -ge $$ ] && [ $((last - $$)) -le 1000 ] || return 1
  number=$$ unsure=
  while [ "$number" -lt "$last" ] && [ $((last - $$)) -le 1000 ]; do
    number=$((number + 1))
    if [ -e "/proc/$number/stat" ] && look_at "$number"; then
      [ "$session" != $$ ] || [ "$group" = $$ ] || [ "$state" = Z ] || return 1
      # A session that was there before us is not one of ours.
      [ "$session" -le $$ ] || unsure="$unsure /proc/$number/environ"
    fi
    # Whoever was started meanwhile is looked at, too.
    [ "$number" -lt "$last" ] || read -r _ _ _ _ last </proc/loadavg
  done
  [ "$number" -ge "$last" ] || return 1
  # shellcheck disable=SC2086
  [ -z "$unsure" ] || ! grep -lzsxF "ROLLCALL_LAUNCH=$1" $unsure >/dev/null 2>&1
}

# TERM, grace, KILL to all of them; true when none is left. Arguments: session, mark, group.
#
# A process shows no environment while it becomes another program, nor when it is about to be gone: of one with a
# session of its own, nothing else tells. So who was found is awaited until it is gone, and a second look must find none.
# While others of them live, which have left it, the session's number may go to somebody else.
end_members() (
  leader=
  if look_at "$1"; then leader=$started; fi
  found=$(members "$1" "$2" "$3")
  [ -n "$found" ] || return 0
  seen='' signal=TERM is_clean=
  end=$(($(uptime_seconds) + grace))
  while :; do
    for number in $found; do
      case "$seen " in *" $number "*) [ $signal = KILL ] || continue ;; esac
      { kill -$signal "$number" && kill -CONT "$number"; } 2>/dev/null
      seen="$seen $number"
    done
    sleep 0.1
    if look_at "$1" && [ "$started" != "$leader" ]; then set -- -1 "$2" "$3"; fi
    found=$(members "$1" "$2" "$3")
    if [ -n "$found" ] || is_any_left "$seen"; then
      is_clean=
    elif [ -n "$is_clean" ]; then
      return 0
    else
      is_clean=1
    fi
    [ "$(uptime_seconds)" -ge "$end" ] || continue
    if [ $signal = TERM ]; then
      signal=KILL end=$(($(uptime_seconds) + grace))
    elif [ -z "$is_clean" ]; then
      return 1
    fi
  done
)

# True where one of these processes is there. Argument: their numbers.
is_any_left() {
  for number in $1; do
    if look_at "$number" && [ "$state" != Z ] && [ "$state" != X ]; then return 0; fi
  done
  return 1
}

# Lets go of a session, found by `identity`, whose number is another's by now. While any of its processes live nobody
# gets the number; so it is another's where its first process lives, and began at another time than ours. Argument: directory.
disown_session() {
  look_at "$held" || return 0
  if [ "$held" = "$pid" ]; then
    [ "$started" = "$start" ] || held=-1
    return
  fi
  # The first process of a command wrote the identity.
  written=$(stat -c %Y "$1/identity" 2>/dev/null) || return 0
  look_at_uptime
  [ "$started" -le $(((written - $(date +%s)) * 100 + uptime + 1000)) ] || held=-1
}

# Can 64 KiB be written here?
has_room() {
  if head -c 65536 /dev/zero >"$1/.room" 2>/dev/null; then
    rm -f "$1/.room"
    return 0
  fi
  rm -f "$1/.room"
  return 1
}

# Sets reason for a command that failed by itself and left no room in `dir`. Argument: its code.
find_full_disk() {
  reason=
  [ "$1" -eq 0 ] || { has_room "$dir" && has_room "${scratch:-$dir}"; } || reason=no-space
}

# Sets reason: what has happened, which is in `event`, or why somebody of ours told it to end. Others do so to all when the
# host goes down: then nobody has cancelled anything.
find_reason() {
  reason=$event
  [ "$reason" = terminated ] && [ -e "$dir/cancel" ] || return 0
  reason=
  { read -r reason <"$dir/cancel"; } 2>/dev/null
  # A full disk took no word.
  [ -n "$reason" ] || reason=cancelled
}

# Sets record, of what ended at `moment`. Arguments: code, start, reason.
find_record() {
  signal=null
  if [ "$1" -gt 128 ] && [ "$1" -le 192 ]; then signal=$(($1 - 128)); fi
  record="{\"code\":$1,\"signal\":$signal,\"started\":$2,\"ended\":$moment,\"reason\":${3:+\"}${3:-null}${3:+\"}$told}"
}

# DIRECTORY/exit.json: written aside, forced to the disk, renamed; in the room that was kept for it, which must at no time
# be free for others. False where it could not be. Arguments: directory, code, start, reason.
put_exit() {
  find_record "$2" "$3" "$4"
  { printf '%s\n' "$record" 1<>"$1/.reserve" && truncate -s $((${#record} + 1)) "$1/.reserve" && sync "$1/.reserve"; } 2>/dev/null &&
    mv "$1/.reserve" "$1/exit.json"
}

# True where a directory is not that of the run which `mark` tells of: it was taken away, and its name went to another launch.
is_anothers() {
  owner=
  { read -r owner <"$1/token"; } 2>/dev/null
  [ -n "$owner" ] && [ -n "${mark-}" ] && [ "$owner" != "${mark%%:*}" ]
}

# The same, tried for a minute; not where there is a record, as of a run whose directory was gone when it was to be stopped,
# nor where the directory was taken away, unless all went, which may come back.
write_exit() {
  environment_json "$1"
  tries=0
  look_at_clock
  until [ -e "$1/exit.json" ] || is_anothers "$1" || put_exit "$@"; do
    [ -d "$1" ] || [ ! -d "${1%/*}" ] || return 1
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || return 1
    sleep 1
  done
}

# --- The environment of a run

# A value that neither JSON nor a terminal takes for anything else.
plain() { LC_ALL=C tr -cd ' -~' | tr -d '"\\\\' | head -c 200; }

# The same, in `value`; asks no program where nothing is to be done.
make_plain() {
  value=$1
  case ${#value}:$value in ???*:* | *[!A-Za-z0-9\ ._:/+=,@\(\)-]*) value=$(printf '%s' "$value" | plain) ;; esac
}

# Sets told: `,"environment":{...}` from the lines "KEY VALUE" of DIRECTORY/environment; left as it is where there are
# none.
told=
environment_json() {
  [ -s "$1/environment" ] || return 0
  members=
  while read -r key value; do
    case $key in '' | *[!a-z_]*) continue ;; esac
    make_plain "$value"
    members="$members${members:+,}\"$key\":\"$value\""
  done <"$1/environment"
  told=",\"environment\":{$members}"
}

# What a Python has of torch, without importing it.
torch_facts='
import importlib.util, os, re, sys
print("python", "%d.%d.%d" % sys.version_info[:3])
spec = importlib.util.find_spec("torch")
if spec is None or not spec.origin:
    print("torch none")
else:
    text = open(os.path.join(os.path.dirname(spec.origin), "version.py"), errors="replace").read()
    for key, name in (("torch", "__version__"), ("torch_commit", "git_version"), ("cuda", "cuda"), ("hip", "hip")):
        found = re.search("^" + name + r"\b[^=\n]*= *[\"\x27]([^\"\x27\n]*)", text, re.M)
        if found:
            print(key, found.group(1))
'

# The commit of a directory, with -dirty where tracked files differ from it.
commit_of() {
  head=$(timeout --foreground 10 git -C "$1" rev-parse HEAD 2>&1) || {
    echo "unknown: $(printf '%s' "$head" | one_line)"
    return
  }
  if [ -n "$(timeout --foreground 10 git -C "$1" status --porcelain --untracked-files=no 2>/dev/null | head -n 1)" ]; then
    head=$head-dirty
  fi
  echo "$head"
}

# Whether a command speaks of Python, or of a launcher that is a script of it.
is_pythonic() {
  case $1 in *python* | *PYTHON* | *torchrun* | *accelerate* | *deepspeed*) ;; *) return 1 ;; esac
}

# The interpreter that a command names: its word for it, looked up in the environment that it activates first; the one
# of a launcher's first line; else python3. Empty where it speaks of none. False, with what is not known, where only the
# run's own shell can tell. Relative paths are those of the working directory.
python_of() {
  is_pythonic "$1" || return 0
  case $1 in *ROLLCALL_PYTHON*)
    echo "${ROLLCALL_PYTHON-python3}"
    return
    ;;
  esac
  set -f
  # shellcheck disable=SC2086
  set -- $1
  set +f
  activated=
  before=
  for word in "$@"; do
    word=${word%[\;\&]}
    word=${word#[\"\']}
    word=${word%[\"\']}
    # As the shell expands them; these are literal here.
    # shellcheck disable=SC2088
    case $word in
    '$HOME/'* | '${HOME}/'* | '~/'*) word=${HOME-}/${word#*/} ;;
    esac
    case $before:$word in
    conda:activate | conda:run | mamba:activate | mamba:run | micromamba:activate | micromamba:run | uv:run | poetry:run)
      echo "$before chooses it"
      return 1
      ;;
    *:*/activate)
      activated=${word%activate}
      [ -x "${activated}python" ] || {
        echo "no interpreter beside $word"
        return 1
      }
      ;;
    esac
    before=$word
    case ${word##*/} in
    python | python[0-9]* | torchrun | accelerate | deepspeed) ;;
    *) continue ;;
    esac
    case $word in */*) ;; *) [ ! -x "$activated$word" ] || word=$activated$word ;; esac
    case ${word##*/} in python*) echo "$word" ;; *) python_of_script "$word" ;; esac
    return
  done
  echo python3
}

# The interpreter in the first line of a script that the shell would find under this name.
python_of_script() {
  script=$(command -v -- "$1") && IFS= read -r line 2>/dev/null <"$script" || line=
  case $line in
  '#!'*/env\ python*) line=${line##*/env } ;;
  '#!'*python*) line=${line#??} ;;
  *)
    echo "$1 is no Python script here"
    return 1
    ;;
  esac
  line=${line#"${line%%[! ]*}"}
  echo "${line%% *}"
}

# Sets cpu: the model of the first processor; empty where the kernel has no such line, as on some architectures.
find_cpu() {
  cpu=
  { while IFS= read -r line && [ -n "$line" ]; do
    case $line in 'model name'*)
      cpu=${line#*: }
      return
      ;;
    esac
  done </proc/cpuinfo; } 2>/dev/null
}

# Lines "KEY VALUE" of what a run finds. In a process of its own, since names may be the user's. Arguments: directory,
# command, GPU names, GPU kind.
describe_environment() {
  . "$1/environment.sh"
  echo "kernel $(uname -sr)"
  find_cpu
  [ -z "$cpu" ] || echo "cpu $cpu"
  [ -z "$3" ] || echo "gpu $3"
  case $4 in
  nvidia) echo "gpu_driver $(timeout --foreground 10 nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>&1 | head -n 1)" ;;
  amd) [ ! -r /sys/module/amdgpu/version ] || echo "gpu_driver $(cat /sys/module/amdgpu/version)" ;;
  esac
  [ -z "${SLURM_JOB_NODELIST-}" ] || echo "nodes $SLURM_JOB_NODELIST"
  [ -z "${ROLLCALL_JOB_COMMIT-}" ] || echo "job_commit $ROLLCALL_JOB_COMMIT"
  [ -z "${ENGINE_SOURCE-}" ] || echo "commit $(commit_of "$ENGINE_SOURCE")"
  # In the run's own directory, where a relative path means what it means for the run; its files are no modules here.
  cd "$1/files" || return
  interpreter=$(python_of "$2") || {
    echo "python unknown: $interpreter"
    return 0
  }
  [ -n "$interpreter" ] || return 0
  timeout --foreground 10 "$interpreter" -c "import sys; sys.path[:1] = []$torch_facts" 2>/dev/null ||
    echo "python unknown: $interpreter did not answer"
}

# The same, written to DIRECTORY/environment: aside and renamed, beside the run, so that nothing waits for it.
take_environment() {
  trap - TERM USR1 USR2
  close_locks
  describe_environment "$1" "$2" "$3" "$4" 2>/dev/null >"$1/environment.tmp" </dev/null
  mv "$1/environment.tmp" "$1/environment"
}

# The same where no program need be asked; false where one must be.
describe_briefly() {
  case $described:${ENGINE_SOURCE-}:$gpu_kind in 0:: | 0::declared) ;; *) return 1 ;; esac
  ! is_pythonic "$text" || return 1
  { read -r kernel </proc/sys/kernel/ostype && read -r release </proc/sys/kernel/osrelease; } 2>/dev/null || return 1
  {
    echo "kernel $kernel $release"
    find_cpu
    [ -z "$cpu" ] || echo "cpu $cpu"
    [ -z "$gpu_names" ] || echo "gpu $gpu_names"
    [ -z "$job_commit" ] || echo "job_commit $job_commit"
  } 2>/dev/null >"$dir/environment"
}

# True where a process that this shell started lives. Its number alone says nothing: a shell that waits for another takes
# leave of it, and the number may be anybody's by then. Not in a shell within this one.
is_ours() { look_at "$1" && [ "$parent" = $$ ] && [ "$state" != Z ]; }

# Waits for it, but not long: an interpreter on a cold disk takes seconds.
await_environment() {
  tries=0
  while is_ours "$1" && [ "$tries" -lt 160 ]; do
    tries=$((tries + 1))
    # Most are told at once; a short run should not wait for a long sleep.
    if [ "$tries" -le 10 ]; then sleep 0.01; else sleep 0.1; fi
  done
  [ "$tries" -lt 160 ] || { kill -KILL "$1" && echo "environment unknown: it was not told in time" >"$dir/environment"; } 2>/dev/null
}

# --- GPUs

# Where the kernel tells of AMD's GPUs; tests have a tree of their own.
sysfs=${ROLLCALL_SYSFS:-/sys}
kfd=$sysfs/class/kfd/kfd

# One line an AMD GPU, in the order that ROCR_VISIBLE_DEVICES counts in: the driver's number of it, its render device's
# number, name.
list_kfd() {
  for node in $(ls "$kfd/topology/nodes" | sort -n); do
    node=$kfd/topology/nodes/$node
    number=$(cat "$node/gpu_id" 2>/dev/null)
    case $number in '' | 0) continue ;; esac
    echo "$number $(sed -n 's/^drm_render_minor //p' "$node/properties" 2>/dev/null | grep . || echo -) $(cat "$node/name" 2>/dev/null)"
  done
}

# Processes with a queue on an AMD GPU, by its number.
list_kfd_processes() {
  grep -lx "$1" "$kfd"/proc/*/queues/*/gpuid 2>/dev/null | sed 's|.*/proc/\([^/]*\)/queues/.*|\1|' | sort -un
}

# nvidia-smi, which hangs for ever where its driver does: it has ten seconds, and none of our locks. Where not even KILL
# ends it, `timeout` waits on: nobody with a limit to keep may wait for this. In our group, so that it is nobody's process.
ask_nvidia() { (close_locks && exec timeout --foreground -k 2 10 nvidia-smi "$@" </dev/null 9<&-); }

# True where the host has what tells of its GPUs.
can_tell_gpus() { command -v nvidia-smi >/dev/null 2>&1 || [ -d "$kfd/topology/nodes" ]; }

# One line a GPU, in PCI order: kind, id, name. Nothing where a tool that is there does not tell: a GPU without its own
# name would be given away twice.
list_gpus() {
  case $declared in auto) most=4096 ;; *) most=$declared ;; esac
  found=
  if command -v nvidia-smi >/dev/null 2>&1; then
    found=$(ask_nvidia --query-gpu=uuid,name --format=csv,noheader 2>/dev/null | grep '^GPU-' |
      sed -n 's/^\([^, ]*\), */nvidia \1 /p')
  elif [ -d "$kfd/topology/nodes" ]; then
    found=$(
      index=0
      list_kfd | while read -r _ _ name; do
        echo "amd $index $name"
        index=$((index + 1))
      done
    )
  fi
  if [ -n "$found" ]; then
    printf '%s\n' "$found" | head -n "$most"
  elif [ "$declared" != auto ] && ! can_tell_gpus; then
    # Declared on a host without tools: names without hardware.
    index=0
    while [ "$index" -lt "$declared" ]; do
      echo "declared $index declared"
      index=$((index + 1))
    done
  fi
}

# What stranger_on reads of NVIDIA's GPUs, of all in one go: an answer may take seconds, and launches wait for it.
look_at_nvidia() {
  memory=$(ask_nvidia --query-gpu=uuid,memory.used --format=csv,noheader,nounits 2>/dev/null)
  apps=$(ask_nvidia --query-compute-apps=gpu_uuid,pid --format=csv,noheader 2>/dev/null)
}

# Why a GPU is not free although its lock is; empty where it is. Arguments: kind, id.
stranger_on() {
  place=$2
  case $1 in
  nvidia)
    used=$(printf '%s\n' "$memory" | sed -n "s/^$2, *//p")
    busy=$(printf '%s\n' "$apps" | sed -n "s/^$2, *//p" | head -n 1)
    ;;
  amd)
    place="GPU $2"
    entry=$(list_kfd | sed -n "$(($2 + 1))p")
    busy=$(list_kfd_processes "${entry%% *}" | head -n 1)
    entry=${entry#* }
    used=$(cat "$sysfs/class/drm/renderD${entry%% *}/device/mem_info_vram_used" 2>/dev/null)
    case $used in '' | *[!0-9]*) ;; *) used=$((used >> 20)) ;; esac
    ;;
  *) return 0 ;;
  esac
  case $busy in
  [0-9]*) echo "process $busy, which holds no lock, is on $place" ;;
  *)
    case $used in
    '' | *[!0-9]*) ;;
    *) [ "$used" -le 1024 ] || echo "$used MiB of $place are in use by somebody who holds no lock" ;;
    esac
    ;;
  esac
}

# Processes on a GPU. Arguments: kind, id.
list_gpu_processes() {
  if [ "$1" = amd ]; then
    list_kfd_processes "$(list_kfd | sed -n "$(($2 + 1))s/ .*//p")"
    return
  fi
  ask_nvidia -i "$2" --query-compute-apps=pid,process_name --format=csv,noheader 2>/dev/null |
    while IFS=', ' read -r other name; do
      # In a container the names are another world's, as the numbers are.
      case $name in '[Not Found]' | '') ;; *) echo "$other" ;; esac
    done
}

# True where a process that is not of this attempt is on one of the GPUs. Arguments: session, mark, ids.
is_contended() {
  ours=$(members "$1" "$2" "$1")
  shift 2
  for id in "$@"; do
    for other in $(list_gpu_processes "$gpu_kind" "$id"); do
      case $other in *[!0-9]*) continue ;; esac
      [ -d "/proc/$other" ] || continue
      printf '%s\n' "$ours" | grep -qx "$other" || echo stranger
    done
  done | grep -q stranger
}

# Writes into a lock that is held who holds it, for `check`. Opened without making it: another user's file in a sticky
# directory may not be opened so.
sign_lock() {
  printf '%s %s %s\n' "${dir##*/}" "$(id -un 2>/dev/null || id -u)" "$workdir" |
    dd of="$1" conv=nocreat 2>/dev/null
}

# Sets how a lock that cannot be opened refuses a run. Argument: the lock.
refuse_closed() {
  gpu_problem="the lock $1 cannot be opened" gpu_refusal=refused
  # Where there is no room for it, there may be later.
  if [ -d "$leases" ] && [ -w "$leases" ] && ! has_room "$leases"; then gpu_refusal=gpu-busy; fi
}

# The host's own lock: a run that wants the host for itself holds it alone, runs on GPUs hold it together. Argument: 1
# for alone. Says why not in gpu_problem, and in gpu_refusal how: what time does not mend is no busy GPU.
take_host() {
  file=$leases/host.lock
  mkdir -p "$leases" 2>/dev/null && chmod 1777 "$leases" 2>/dev/null
  [ -e "$file" ] || (umask 0 && : >>"$file") 2>/dev/null
  [ -f "$file" ] && [ -r "$file" ] && exec 3<"$file" || {
    refuse_closed "$file"
    return 1
  }
  gpu_refusal=gpu-busy
  if [ "$1" = 1 ]; then
    gpu_problem="the run wants the host for itself, and others are on it"
    flock -n 3 || return 1
    sign_lock "$file"
  else
    gpu_problem="a run has the host for itself"
    flock -n -s 3 || return 1
  fi
  lock_descriptors=3
}

# Takes `count` GPUs: sets gpu_kind, gpu_ids, lock_descriptors; else says why not in gpu_problem and gpu_refusal.
take_gpus() {
  gpu_kind='' gpu_ids='' gpu_names='' gpu_problem='' taken=0 is_seen='' gpu_refusal=gpu-busy closed='' openable=0
  descriptor=4
  mkdir -p "$leases" 2>/dev/null && chmod 1777 "$leases" 2>/dev/null
  list=$(list_gpus)
  if [ -z "$list" ] && [ "$declared" != auto ] && can_tell_gpus; then
    gpu_problem="the host does not tell of its GPUs now"
    return 1
  elif [ "$(printf '%s' "$list" | grep -c .)" -lt "$1" ]; then
    gpu_problem="the host has $(printf '%s' "$list" | grep -c .) GPUs, not $1"
    return 1
  fi
  # Not a loop over redirected input: the shell keeps descriptors of its own for that.
  for entry in $(printf '%s\n' "$list" | cut -d ' ' -f 1,2 | tr ' ' ','); do
    [ "$taken" -lt "$1" ] || break
    kind=${entry%%,*} id=${entry#*,}
    file="$leases/gpu-$id.lock"
    # Another user's file in a sticky directory may be opened for reading only.
    [ -e "$file" ] || (umask 0 && : >>"$file") 2>/dev/null
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then
      closed=$file
      continue
    fi
    openable=$((openable + 1))
    eval "exec $descriptor<\"\$file\""
    if ! flock -n "$descriptor"; then
      gpu_problem="GPU $id is locked by another run"
      eval "exec $descriptor<&-"
      continue
    fi
    lock_descriptors="$lock_descriptors $descriptor"
    if [ "$kind" = nvidia ] && [ -z "$is_seen" ]; then
      look_at_nvidia
      is_seen=1
    fi
    problem=$(stranger_on "$kind" "$id")
    if [ -n "$problem" ]; then
      gpu_problem=$problem
      eval "exec $descriptor<&-"
      continue
    fi
    sign_lock "$file"
    gpu_kind=$kind
    gpu_ids="$gpu_ids${gpu_ids:+,}$id"
    gpu_names="$gpu_names${gpu_names:+, }$(printf '%s\n' "$list" | sed -n "s/^$kind $id //p" | head -n 1)"
    taken=$((taken + 1))
    descriptor=$((descriptor + 1))
    # 9 is the launch lock; from 10 on bash has its own.
    [ "$descriptor" -ne 9 ] || descriptor=30
  done
  [ "$taken" -lt "$1" ] || return 0
  if [ -n "$closed" ] && [ "$openable" -lt "$1" ]; then refuse_closed "$closed"; fi
  return 1
}

# A cleaner of /tmp removes what nobody has written to for days, held or not, and then two hold a lock of one name: what is
# held is made young.
keep_locks() {
  [ -n "$lock_descriptors" ] || return 0
  touch -c "$leases/host.lock"
  for id in $(echo "$gpu_ids" | tr ',' ' '); do touch -c "$leases/gpu-$id.lock"; done
} 2>/dev/null

close_locks() { for descriptor in ${lock_descriptors-}; do eval "exec $descriptor<&-"; done; }

# --- The supervisor

# Ends before anything was started. Arguments: kind, words.
refuse() {
  rm -f "$dir/.reserve"
  printf '%s\n' "$*" 2>/dev/null >"$dir/refusal.tmp" && mv "$dir/refusal.tmp" "$dir/refusal"
  exit 75
}

# In the command's own process: its environment, its directory, its group. Arguments: program that becomes the command
# in a group of its own, command, mark, GPU kind, GPU ids, real GPUs on the host, the program's first word.
become_command() {
  exec 9<&-
  cd "$dir/files" || exit 126
  set -- "$dir" "$@"
  # From here on names may be the user's.
  if [ -n "$is_crew" ]; then eval "$environment"; else . "$1/environment.sh"; fi
  ROLLCALL_LAUNCH=$4
  ROLLCALL_GPUS=$6
  export ROLLCALL_LAUNCH ROLLCALL_GPUS
  case ${5:-$7} in
  nvidia)
    CUDA_VISIBLE_DEVICES=$6 CUDA_DEVICE_ORDER=PCI_BUS_ID
    export CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER
    ;;
  amd)
    unset HIP_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES
    ROCR_VISIBLE_DEVICES=$6
    export ROCR_VISIBLE_DEVICES
    ;;
  esac
  # shellcheck disable=SC2086
  exec ${hearing-} "$2" ${8:+"$8"} /bin/sh -c "$3"
}

# Bytes that show life: both logs and the dumps.
output_bytes() {
  total=0
  for size in $(stat -c %s "$dir/stdout.log" "$dir/stderr.log" 2>/dev/null) \
    $(du -sb "$dir/dumps" ${scratch:+"$scratch"} 2>/dev/null | cut -f 1); do
    total=$((total + size))
  done
  echo "$total"
}

# Sets pause: seconds until the clock looks again, of begin, now and next, when the next thing is due. Each costs a
# process: of a run that has lasted a while, none is wanted every second.
find_pause() {
  pause=$((next - now))
  if [ "$pause" -lt 1 ] || [ $((now - begin)) -lt 10 ]; then pause=1; elif [ "$pause" -gt 5 ]; then pause=5; fi
}

# Sleeps for so long, or until a command ends all that is called so (`killall sleep`): the clock goes on. False where
# nothing can be started.
pass_time() { sleep "$pause" || [ $? -gt 128 ]; }

# The supervisor's clock: tells it by signal what is due, until it is gone. Arguments: mark.
watch() {
  trap - TERM USR1 USR2
  close_locks
  look_at_uptime
  begin=$((uptime / 100)) now=$((uptime / 100))
  grown=$begin size=-1 next_size=$begin next_look=$((begin + 30)) looker=
  keep_locks
  kept=$begin
  while next=$((begin + limit)) &&
    { [ "$stall" -le 0 ] || [ "$next_size" -ge "$next" ] || next=$next_size; } &&
    { [ "$gpu_kind" != nvidia ] || [ "$next_look" -ge "$next" ] || next=$next_look; } &&
    find_pause && look_at_uptime && slept=$((uptime / 100)) && pass_time; do
    look_at_uptime
    now=$((uptime / 100))
    # Slurm has a job pause that is to make room: that is not its time.
    paused=$((now - slept - pause))
    if [ "$paused" -ge 15 ] && [ -n "${SLURM_JOB_ID-}" ]; then
      begin=$((begin + paused)) grown=$((grown + paused)) next_size=$((next_size + paused))
    fi
    if ! look_at $$ || [ "$started" != "$self_start" ] || [ "$state" = Z ]; then
      # Killed: nobody keeps the limits any more.
      end_members $$ "$1" $$
      exit
    fi
    # Said again until it is heard.
    [ $((now - begin)) -lt "$limit" ] || kill -USR1 $$
    if [ $((now - kept)) -ge 3600 ]; then
      keep_locks
      kept=$now
    fi
    if [ "$stall" -gt 0 ] && [ "$now" -ge "$next_size" ]; then
      # A tenth of the limit: often enough, and no burden on many files.
      next_size=$((now + (stall + 9) / 10))
      new=$(output_bytes)
      if [ "$new" -ne "$size" ]; then
        size=$new grown=$now
      elif [ $((now - grown)) -ge "$stall" ]; then
        kill -USR2 $$
        next_size=$now
      fi
    fi
    if [ -n "$gpu_kind" ] && [ "$gpu_kind" != declared ] && [ "$now" -ge "$next_look" ]; then
      next_look=$((now + 30))
      # Beside us, one at a time: the limits are kept while it hangs.
      if [ -z "$looker" ] || ! look_at "$looker" || [ "$group" != $$ ] || [ "$state" = Z ]; then
        # shellcheck disable=SC2046
        (if is_contended $$ "$1" $(echo "$gpu_ids" | tr ',' ' '); then : >"$dir/contended"; fi) &
        looker=$!
      fi
    fi
  done
}

# Seconds for which a share holds what it took while nobody asks how it stands: whoever launched it is gone then.
patience=60

# One share of a gang: holds what it took until all the others have theirs. Argument: seconds.
await_release() {
  look_at_uptime
  end=$((uptime + $1 * 100)) asked=$uptime
  printf '%s\n' "$uptime" 2>/dev/null >"$dir/held"
  until [ -e "$dir/go" ]; do
    look_at_uptime
    # Not by `read`, which shells do byte by byte: what is written anew meanwhile would come cut or mixed.
    asked=$(cat "$dir/held" 2>/dev/null)
    case $asked in '' | *[!0-9]*) asked=$uptime ;; esac
    if [ "$uptime" -ge "$end" ] || [ $((uptime - asked)) -ge $((patience * 100)) ]; then
      [ -n "$event" ] || event=not-released
    fi
    if [ -n "$event" ]; then
      find_reason
      end_share 143 "$reason"
    fi
    sleep 0.05
  done
  # Strangers ask for no lock: one may have come since these were taken.
  case $gpu_kind in nvidia | amd)
    [ "$gpu_kind" = amd ] || look_at_nvidia
    for id in $(echo "$gpu_ids" | tr ',' ' '); do
      [ -z "$(stranger_on "$gpu_kind" "$id")" ] || end_share 75 gpu-busy
    done
    ;;
  esac
  look_at_clock
  began=$moment
}

# Ends a share that has not begun. Arguments: code, reason.
end_share() {
  close_locks
  write_exit "$dir" "$1" "$began" "$2"
  exit 0
}

# Sets real_kind: what GPUs are hidden from a run that asks for none.
find_real_kind() {
  real_kind=
  if command -v nvidia-smi >/dev/null 2>&1; then
    real_kind=nvidia
  elif [ -d "$kfd/topology/nodes" ]; then
    real_kind=amd
  fi
}

supervise() {
  dir=$1
  skew=${2-} text='' job_commit='' described=1 allotted=0 launcher='' scratch=''
  # shellcheck disable=SC1091
  . "$dir/settings.sh" || refuse refused "settings.sh is missing"
  if [ "$gpus" -gt 5 ] && [ -z "${BASH_VERSION-}" ]; then
    command -v bash >/dev/null 2>&1 || refuse refused "more than 5 GPUs on one host need bash on the host"
    exec bash "$dir/launch.sh" - supervise "$workdir" "$leases" "$declared" "$dir" "${2-}"
  fi
  real_kind= told_kind=
  gpu_kind='' gpu_ids='' gpu_names='' lock_descriptors=''
  if [ "$allotted" -gt 0 ]; then
    # A cluster gave what there is to have, and hides the rest.
    list=$(list_gpus | head -n "$allotted")
    told_kind=${list%% *}
    gpu_names=$(printf '%s\n' "$list" | cut -d ' ' -f 3- | paste -s -d ',' | sed 's/,/, /g')
    gpu_ids=${CUDA_VISIBLE_DEVICES:-${ROCR_VISIBLE_DEVICES:-${SLURM_JOB_GPUS-}}}
  fi
  if [ "$gpus" -gt 0 ] || [ "${exclusive:-0}" = 1 ]; then
    take_host "${exclusive:-0}" || refuse "$gpu_refusal" "$gpu_problem"
  fi
  if [ "$gpus" -gt 0 ]; then
    take_gpus "$gpus" || refuse "$gpu_refusal" "$gpu_problem"
  elif [ "$allotted" -eq 0 ]; then
    find_real_kind
  fi
  # As mark_of tells it.
  here=$PWD
  cd -P "$dir" && mark=$token:$PWD || refuse refused "the run directory cannot be entered"
  cd "$here" 2>/dev/null || cd /
  program=/usr/bin/timeout
  [ -x "$program" ] || program=$(command -v timeout) || refuse refused "the program timeout is missing"
  [ -n "$text" ] || text=$(cat "$dir/command") || refuse refused "the command cannot be read"
  : >"$dir/stdout.log" && : >"$dir/stderr.log" || refuse no-space "the logs cannot be made"
  look_at $$ || refuse refused "/proc is not mounted"
  self_start=$started
  look_at_uptime
  self_begin=$uptime
  event=
  trap '[ -n "$event" ] || event=terminated' TERM
  trap '[ -n "$event" ] || event=timeout' USR1
  trap '[ -n "$event" ] || event=stalled' USR2
  look_at_clock
  began=$moment
  # In one piece: who looks finds all of it or nothing.
  printf '%s %s %s\n' "$this_boot" $$ "$self_start" 2>/dev/null >"$dir/identity" ||
    refuse no-space "the identity cannot be written"
  # Known to all: the next launch may go on.
  exec 9<&-
  [ "${hold:-0}" -eq 0 ] || await_release "$hold"

  describer=
  if ! describe_briefly; then
    take_environment "$dir" "$text" "$gpu_names" "${gpu_kind:-$told_kind}" &
    describer=$!
  fi
  # What starts the command on several nodes.
  [ -z "$launcher" ] || text=$launcher
  (
    trap - TERM USR1 USR2
    # `timeout 0` sets no limit: it makes a process group.
    become_command "$program" "$text" "$mark" "$gpu_kind" "$gpu_ids" "$real_kind" 0
  ) >>"$dir/stdout.log" 2>>"$dir/stderr.log" </dev/null &
  child=$!
  watch "$mark" &
  watcher=$!

  wait "$child"
  code=$?
  if [ -n "$event" ]; then
    # The wait may have ended for the event alone: end the command, then ask for its true code. One that is about to
    # begin is found when it has.
    while end_members $$ "$mark" $$ && is_ours "$child"; do sleep 0.1; done
    wait "$child" 2>/dev/null
    second=$?
    [ "$second" -eq 127 ] || code=$second
  fi
  find_reason
  # What the command left behind.
  is_alone "$mark" || end_members $$ "$mark" $$
  if is_ours "$watcher"; then kill -KILL "$watcher" 2>/dev/null; fi
  wait "$watcher" 2>/dev/null
  [ -z "$describer" ] || await_environment "$describer"
  if [ -z "$reason" ] && [ -e "$dir/contended" ]; then reason=contended; fi
  [ -n "$reason" ] || find_full_disk "$code"
  # A cluster's job, whose dumps lie on the disks of its nodes.
  [ -z "$scratch" ] || bring_dumps
  # Whoever reads the record may launch at once.
  close_locks
  write_exit "$dir" "$code" "$began" "$reason"
}

# --- Many plain runs: no GPUs, nothing to wait for, nothing to ask of other programs

# One process leads many such runs that were launched together. Each has a member, a process that waits for its command
# and is its supervisor to the rest of the world: it lives until the run's record is written, and can be told to end it.
# The leader keeps the limits, looks for what commands leave behind, of many in one look, and writes the records.
#
#   agent.sh - crew WORKDIR LEASEDIR GPUS SKEW ATTEMPT... <WORDS
#
# Descriptor 5 takes a line for each run that has begun; 6 is a pipe that tells the leader what has happened; 8 is one
# that never says anything, and ends with the leader, which alone has it open for writing, as 7.

# In the command's own process until it becomes the command: the identity is written before anything runs.
begin_member() {
  trap - TERM USR1 USR2
  # This process, not the one that `$$` names; a look into /proc/self/stat would cost a system call a byte.
  for own in /proc/self/task/*; do own=${own##*/}; done
  # In one piece: who looks finds all of it or nothing.
  printf '%s %s %s %s\n' "$this_boot" "$self" "$self_start" "$own" 2>/dev/null >"$dir/identity" || exit 75
  # Whoever is told may be gone; the run begins all the same.
  trap '' PIPE
  echo "$number" 2>/dev/null >&5
  trap - PIPE
  exec 5>&- 6>&- 8<&-
  become_command "$program" "$text" "$mark" '' '' "$real_kind"
}

# Ends what lives of a member's command. Once that was waited for, its number may be another's.
end_command() {
  held=$child
  if look_at "$child" && [ "$parent" != "$self" ]; then held=-1; fi
  end_members "$held" "$mark" 0
}

# Waits for one command. Of the leader's variables: number, dir, mark, text, environment, told.
member() {
  exec 7>&-
  event='' left=''
  trap '[ -n "$event" ] || event=terminated' TERM
  trap '[ -n "$event" ] || event=timeout' USR1
  trap 'left=1' USR2
  look_at self || exit 75
  self=${stat%% *} self_start=$started
  look_at_clock
  began=$moment
  begin_member >"$dir/stdout.log" 2>"$dir/stderr.log" </dev/null &
  child=$!
  # The next launch may go on when the command has begun.
  exec 5>&- 9>&-
  wait "$child"
  code=$? did_begin=
  if [ -n "$event" ]; then
    # The wait may have ended for the event alone: end the command, then ask for its true code. One that is about to
    # begin is found when it has.
    while end_command && look_at "$child" && [ "$parent" = "$self" ] && [ "$state" != Z ]; do sleep 0.1; done
    wait "$child" 2>/dev/null
    second=$?
    [ "$second" -eq 127 ] || code=$second
  fi
  # Not 75 of what never began. A command that did may have removed its identity.
  if [ -s "$dir/identity" ] || [ "$code" -ne 75 ]; then did_begin=1; fi
  if [ -z "$event" ] && [ -n "$did_begin" ]; then
    look_at_clock
    printf 'ended %s %s %s %s %s\n' "$number" "$code" "$child" "$began" "$moment" >&6
    # Until the leader has written the record and ends us, says that something is left, or is gone.
    while [ -z "$left" ]; do
      read -r _ <&8
      look_at $$ && [ "$started" = "$leader_start" ] && [ "$state" != Z ] || break
    done
    end_command
  fi
  if [ -n "$did_begin" ]; then
    find_reason
    [ -n "$reason" ] || find_full_disk "$code"
    write_exit "$dir" "$code" "$began" "$reason"
  fi
  printf 'gone %s\n' "$number" >&6
}

# A word to the leader whenever something may be due; where that is gone, nobody keeps the limits any more.
tick() {
  exec 7>&-
  begin=$((crew_begin / 100)) now=$((crew_begin / 100))
  while next=$((now + 5)) && { [ $((begin + least_limit)) -ge "$next" ] || next=$((begin + least_limit)); } &&
    find_pause && pass_time; do
    look_at_uptime
    now=$((uptime / 100))
    if ! look_at $$ || [ "$started" != "$leader_start" ] || [ "$state" = Z ]; then
      for number in $numbers; do
        eval "dir=\$dir_$number mark=\$mark_$number"
        [ ! -e "$dir/exit.json" ] && identity "$dir" || continue
        if is_alive; then kill -KILL "$pid" 2>/dev/null; fi
        disown_session "$dir"
        end_members "$held" "$mark" 0
      done
      exit
    fi
    echo tick >&6
  done
}

# Ends what has outlived its limit, and finds members that were killed. Said again until it is heard.
keep_limits() {
  look_at_uptime
  asked='' files='' seen=''
  for number in $numbers; do
    eval "is_open=\$open_$number pid=\$pid_$number"
    [ -n "$is_open" ] || continue
    case "$ended " in *" $number "*) continue ;; esac
    asked="$asked $number" files="$files /proc/$pid/stat"
    # A few are quicker looked at than a process is started.
    if [ "$open_count" -le 8 ] && look_at "$pid"; then seen="$seen $pid $state $parent"; fi
  done
  # The name of a member, which is a shell, has no blanks.
  # shellcheck disable=SC2046,SC2086
  if [ "$open_count" -le 8 ]; then set -- $seen; elif [ -n "$asked" ]; then set -- $(cut -d ' ' -f 1,3,4 $files 2>/dev/null); fi
  for number in $asked; do
    eval "pid=\$pid_$number limit=\$limit_$number is_left=\$left_$number"
    state=Z
    if [ $# -gt 2 ] && [ "$1" = "$pid" ]; then
      # Of one that was killed, the number may be another's.
      [ "$3" != $$ ] || state=$2
      shift 3
    fi
    if [ "$state" = Z ]; then
      # Its run is lost; nothing of it may live on.
      eval "dir=\$dir_$number mark=\$mark_$number"
      (exec 7>&- && identity "$dir" && [ ! -e "$dir/exit.json" ] && disown_session "$dir" && end_members "$held" "$mark" 0) &
      forget "$number"
    elif [ -n "$is_left" ]; then
      kill -USR2 "$pid" 2>/dev/null
    elif [ $((uptime - crew_begin)) -ge $((limit * 100)) ]; then
      kill -USR1 "$pid" 2>/dev/null
    fi
  done
}

# One that is over is not looked at any more.
forget() {
  eval "is_open=\$open_$1 open_$1="
  [ -z "$is_open" ] || open_count=$((open_count - 1))
}

# Writes the records of the runs in `ended`, where one that cannot be written stays, for the next tick: nobody else's
# limit waits for it.
settle() {
  sessions=
  for number in $ended; do
    eval "sessions=\$sessions\|\$session_$number"
  done
  found=$(
    grep -lsE "\) [A-Za-z] [0-9]+ [0-9]+ (${sessions#?}) " /proc/[0-9]*/stat 2>/dev/null
    for number in $ended; do
      eval "mark=\$mark_$number"
      printf 'ROLLCALL_LAUNCH=%s\n' "$mark"
    done | grep -lzsxF -f - /proc/[0-9]*/environ 2>/dev/null
  )
  written='' quick='' records='' stuck=''
  for number in $ended; do
    eval "dir=\$dir_$number pid=\$pid_$number mark=\$mark_$number session=\$session_$number told=\$told_$number \
      code=\$code_$number began=\$began_$number moment=\$ended_$number"
    # Looked at once: later there may be room again, and another session of that number.
    eval "reason=\${reason_$number-unasked}"
    if [ "$reason" = unasked ]; then
      if [ -n "$found" ] && [ -n "$(members "$session" "$mark" 0)" ]; then
        eval "left_$number=1"
        if is_ours "$pid"; then kill -USR2 "$pid" 2>/dev/null; fi
        continue
      fi
      find_full_disk "$code"
      eval "reason_$number=\$reason"
    fi
    # Its record stands, or went with its directory.
    if [ ! -e "$dir/.reserve" ] || is_anothers "$dir"; then
      written="$written $number"
      continue
    fi
    # Where one cannot be written, the others are not tried one by one.
    if [ -n "$stuck" ]; then
      stuck=" $number$stuck"
      continue
    fi
    find_record "$code" "$began" "$reason"
    # In one piece, in room of its own: what was kept is for a full disk.
    if [ -z "$reason" ] && printf '%s\n' "$record" 2>/dev/null >"$dir/exit.json"; then
      quick="$quick $number" records="$records ${dir##*/}/exit.json"
    elif put_exit "$dir" "$code" "$began" "$reason"; then
      written="$written $number"
    else
      rm -f "$dir/exit.json"
      stuck=" $number"
    fi
  done
  # A record stands only when it is on the disk: until `.reserve` is gone, it is none.
  # shellcheck disable=SC2086
  if [ -z "$records" ] || sync $records 2>/dev/null; then
    written="$written $quick"
  else
    for number in $quick; do
      eval "dir=\$dir_$number told=\$told_$number code=\$code_$number began=\$began_$number moment=\$ended_$number"
      if [ -z "$stuck" ] && put_exit "$dir" "$code" "$began" ''; then
        written="$written $number"
      else
        stuck=" $number$stuck"
      fi
    done
    quick=
  fi
  ended=$stuck
  [ -n "$written" ] || return 0
  over='' reserves=''
  for number in $quick; do
    eval "dir=\$dir_$number"
    reserves="$reserves ${dir##*/}/.reserve"
  done
  for number in $written; do
    eval "over=\"\$over \$pid_$number\""
    forget "$number"
  done
  # shellcheck disable=SC2086
  [ -z "$reserves" ] || rm -f $reserves
  # One that was killed meanwhile has left its number to others.
  for pid in $over; do if is_ours "$pid"; then kill -KILL "$pid" 2>/dev/null; fi; done
}

crew() {
  skew=$1
  shift
  exec 5>&1 >/dev/null
  look_at $$ || exit 1
  leader_start=$started
  pipes=$workdir/incoming/crew.$$
  mkfifo "$pipes" "$pipes.end" && exec 6<>"$pipes" 7<>"$pipes.end" && exec 8<"$pipes.end" || exit 1
  rm -f "$pipes" "$pipes.end"
  program=/usr/bin/setsid
  [ -x "$program" ] || program=$(command -v setsid) || exit 1
  # What a shell starts beside itself is deaf to these, and all that it starts: a command could not end its server by
  # them. (`timeout`, which starts a run that is led alone, gives them back.)
  hearing='env --default-signal=INT,QUIT'
  $hearing true 2>/dev/null || hearing=
  find_real_kind
  cd -P "$workdir/attempts" || exit 1
  kernel=
  if { read -r kernel </proc/sys/kernel/ostype && read -r release </proc/sys/kernel/osrelease; } 2>/dev/null; then
    make_plain "$kernel $release"
    kernel="\"kernel\":\"$value\""
    find_cpu
    make_plain "$cpu"
    [ -z "$value" ] || kernel="$kernel,\"cpu\":\"$value\""
  fi
  look_at_uptime
  crew_begin=$uptime
  number=0
  for id in "$@"; do
    number=$((number + 1))
    eval "id_$number=\$id"
  done
  number=1 numbers='' least_limit=1000000000 open_count=0 ended='' is_due=
  blob() { :; }
  attempt() { :; }
  # In the order of our arguments; one that was there before is not among these.
  plain_attempt() {
    eval "id=\${id_$number-}"
    [ "$id" = "$1" ] || return 0
    dir=$PWD/$id environment=$6
    eval "$3" || return 1
    mark=$token:$dir told=
    [ -z "$kernel" ] || told=",\"environment\":{$kernel"
    if [ -n "$kernel" ] && [ -n "$job_commit" ]; then
      make_plain "$job_commit"
      told="$told,\"job_commit\":\"$value\""
    fi
    told=$told${told:+\}}
    set --
    member &
    eval "pid_$number=$! dir_$number=\$dir mark_$number=\$mark limit_$number=\$limit told_$number=\$told left_$number= open_$number=1"
    [ "$limit" -ge "$least_limit" ] || least_limit=$limit
    numbers="$numbers $number" open_count=$((open_count + 1))
    number=$((number + 1))
  }
  # What was sent, as `launch-many` read it.
  # shellcheck disable=SC1091
  . /dev/stdin
  exec 5>&- 9>&- </dev/null
  tick &
  ticker=$!
  while [ "$open_count" -gt 0 ] && read -r word number code session began moment <&6; do
    case $word in
    ended)
      eval "is_open=\$open_$number"
      [ -n "$is_open" ] || continue
      ended="$ended $number"
      eval "code_$number=$code session_$number=$session began_$number=$began ended_$number=$moment"
      # A look for what is left costs as much for one as for many: others come along.
      if [ -z "$is_due" ] && [ "$open_count" -gt 8 ]; then
        (exec 7>&- && sleep 0.05 && echo settle >&6) &
      elif [ -z "$is_due" ]; then
        echo settle >&6
      fi
      is_due=1
      ;;
    settle)
      is_due=
      settle
      ;;
    gone) forget "$number" ;;
    tick)
      keep_limits
      if [ -n "$ended" ] && [ -z "$is_due" ]; then settle; fi
      ;;
    esac
  done
  if is_ours "$ticker"; then kill -KILL "$ticker" 2>/dev/null; fi
}

# What follows need not be read by a supervisor.
is_crew=
if [ "$verb" = supervise ]; then
  supervise "$@"
  exit
elif [ "$verb" = crew ]; then
  is_crew=1
  crew "$@"
  exit
fi

# --- Verbs

# One launch or stop of this host at a time decides; other hosts with the same work directory do not wait for it. Held
# until descriptor 9 is closed by all who inherit it.
lock=$workdir/.lock.$(uname -n | tr -c 'A-Za-z0-9.\n-' _)
lock_workdir() {
  # A failing exec would end the shell: try first.
  (: >>"$lock") 2>/dev/null && exec 9>>"$lock" && flock -w 60 9
}

# No fault of the run's: a host that hangs may recover.
too_slow='its supervisor did not begin within a minute'

# True where the run in `dir` has begun. Its command may have removed the identity by now, or all: a run that began, or
# never will. To launch it anew might run it twice.
has_begun() { [ -s "$dir/identity" ] || [ -e "$dir/exit.json" ] || [ ! -d "$dir" ]; }

# Ends a supervisor that has not begun in good time, and what it started meanwhile all the same: false then. Argument: its
# number; its directory is `dir`.
kill_starting() {
  if is_ours "$1"; then kill -KILL "$1" 2>/dev/null; fi
  wait "$1" 2>/dev/null
  has_begun || return 0
  end_members "$1" "$(mark_of "$dir")" "$1"
  return 1
}

# Reads "F MODE SIZE NAME" lines, each followed by SIZE bytes, up to a line "E", into a directory.
receive() {
  while IFS= read -r line; do
    case $line in
    E) return 0 ;;
    'F '*) ;;
    *) return 1 ;;
    esac
    line=${line#F }
    mode=${line%% *} line=${line#* }
    size=${line%% *} name=${line#* }
    head -c "$size" >"$1/$name" || return 1
    [ "$(stat -c %s "$1/$name")" = "$size" ] || return 1
    chmod "$mode" "$1/$name" || return 1
  done
  return 1
}

# Takes away what a launch that began nothing has left. Argument: id.
unclaim() {
  owner=
  { read -r owner <"$workdir/attempts/$1/token"; } 2>/dev/null
  rm -rf "$workdir/begun/$1.$owner" "$workdir/attempts/$1"
}

# Says why a launch failed, for want of room or for another reason.
fail_launch() {
  if has_room "$workdir"; then say refused "$1: $(one_line <"$stage/.error" 2>/dev/null)"; else say no-space "$1"; fi
}

launch() {
  id=$1 token=$2
  dir=$workdir/attempts/$id
  stage=$workdir/incoming/$id.$$
  trap 'rm -rf "$stage"' EXIT
  trap 'exit 1' HUP INT TERM PIPE
  # What is sent may hold secrets.
  problem=$({ mkdir -p "$workdir/attempts" "$workdir/incoming" "$workdir/begun" && mkdir -m 700 "$stage" "$stage/files" "$stage/dumps"; } 2>&1) || {
    if [ -d "$workdir" ] && ! has_room "$workdir"; then say no-space "$workdir"; else
      say refused "the run directory cannot be made: $(printf '%s' "$problem" | one_line)"
    fi
    return
  }
  receive "$stage" 2>"$stage/.error" || {
    fail_launch "the files did not arrive"
    return
  }
  { head -c 4096 /dev/zero >"$stage/.reserve" && cp "$0" "$stage/launch.sh" && printf '%s\n' "$token" >"$stage/token" &&
    printf '%s\n' "$this_boot" >"$stage/boot" && [ "$(cat "$stage/token")" = "$token" ] && cmp -s "$0" "$stage/launch.sh"; } 2>"$stage/.error" || {
    fail_launch "the run directory cannot be filled"
    return
  }
  rm -f "$stage/.error"

  # A launcher that died has let go.
  lock_workdir || {
    # Who holds it may let go of it: no fault of the run's.
    if ! has_room "$workdir"; then say no-space "$workdir"; elif [ -f "$lock" ] && [ -w "$lock" ]; then
      say gpu-busy "the lock $lock is held for more than a minute"
    else say refused "the lock $lock cannot be had"; fi
    return
  }
  begun=$workdir/begun/$id.$token
  if [ ! -d "$dir" ] && [ -e "$begun" ]; then
    say adopted
    return
  fi
  if ! mkdir -m 700 "$dir" 2>/dev/null; then
    if [ ! -d "$dir" ]; then
      fail_launch "$dir cannot be made"
      return
    fi
    owner=$(cat "$dir/token" 2>/dev/null)
    if [ -n "$owner" ] && [ "$owner" != "$token" ]; then
      say refused "the run directory $dir is another launch's"
      return
    fi
    if [ -e "$dir/identity" ] || [ -e "$dir/exit.json" ] || was_before_boot "$dir"; then
      say adopted
      return
    fi
    # Half made, by a launch that died (it would hold the lock): done again.
    rm -rf "$dir" && mkdir -m 700 "$dir" || {
      say refused "the half-made $dir cannot be replaced"
      return
    }
  fi
  { mv "$stage/token" "$dir/token" && mv "$stage"/* "$stage/.reserve" "$dir/" && printf '' >"$begun"; } 2>"$stage/.error" || {
    rm -rf "$begun" "$dir"
    fail_launch "the run directory cannot be filled"
    return
  }
  sync "$dir/boot" "$workdir/begun" 2>/dev/null
  find_skew
  setsid sh "$dir/launch.sh" - supervise "$workdir" "$leases" "$declared" "$dir" "$skew" </dev/null >/dev/null 2>"$dir/supervisor.log" &
  supervisor=$!
  tries=0
  while [ ! -e "$dir/refusal" ]; do
    if has_begun; then
      say started
      return
    fi
    if ! is_ours "$supervisor" || [ "$tries" -ge 1200 ]; then
      # Once more: it may have ended right after it wrote.
      ! has_begun && [ ! -e "$dir/refusal" ] || continue
      kill_starting "$supervisor"
      if [ "$tries" -ge 1200 ]; then echo "gpu-busy $too_slow"; else
        printf 'refused the supervisor ended at once: %s\n' "$(one_line <"$dir/supervisor.log")"
      fi >"$stage.why" 2>/dev/null
      if has_room "$workdir"; then say "$(cat "$stage.why")"; else say no-space "$workdir"; fi
      rm -rf "$begun" "$dir" "$stage.why"
      return
    fi
    tries=$((tries + 1))
    sleep 0.05
  done
  say "$(cat "$dir/refusal")"
  rm -rf "$begun" "$dir"
}

# Many launches at once: the first line says how many bytes follow that are words for this shell, calls of `blob` and
# `attempt`; then come the bytes of the files. Answers one line an attempt, as `launch` does, or `alone`: to be launched
# by itself, which also finds out what is wrong.
launch_many() {
  trap 'rm -rf "$stage"' EXIT
  trap 'exit 1' HUP INT TERM PIPE
  asked='' crew='' some_stand=''
  for name in attempts incoming begun; do [ -d "$workdir/$name" ] || mkdir -p "$workdir/$name" 2>/dev/null; done
  # What is sent may hold secrets.
  stage=$(mktemp -d "$workdir/incoming/many.XXXXXX" 2>/dev/null) && IFS= read -r size && head -c "$size" >"$stage/words" 2>/dev/null &&
    [ "$(stat -c %s "$stage/words")" = "$size" ] || {
    say alone
    return
  }
  # Before the lock is taken, since what is sent may come slowly.
  blob() { head -c "$2" >"$stage/$1" && [ "$(stat -c %s "$stage/$1")" = "$2" ] && chmod "$3" "$stage/$1"; }
  attempt() { asked="$asked $1"; }
  plain_attempt() { asked="$asked $1"; }
  # shellcheck disable=SC1091
  . "$stage/words" 2>/dev/null && lock_workdir || asked=
  fresh='' directories='' begun=''
  # Identifiers are letters, digits, - and _: lists of them need no quotes.
  for id in $asked; do
    if [ -e "$workdir/attempts/$id" ]; then
      some_stand=1
    else
      fresh="$fresh $id" directories="$directories $id $id/files $id/dumps"
    fi
  done
  # shellcheck disable=SC2086
  if [ -n "$fresh" ] && (cd "$workdir/attempts" && exec mkdir -m 700 $directories) 2>/dev/null && fill; then
    find_skew
    running=
    [ "$crew" = "$fresh" ] || for id in $fresh; do
      case "$crew " in *" $id "*) continue ;; esac
      dir=$workdir/attempts/$id
      setsid sh "$0" - supervise "$workdir" "$leases" "$declared" "$dir" "$skew" </dev/null >/dev/null 2>"$dir/supervisor.log" &
      running="$running $id:$!"
    done
    [ -z "$crew" ] || begin_crew
    exec 9>&-
    await_supervisors "$running"
  elif [ -n "$fresh" ]; then
    # No supervisor was started: half-made claims of ours, or of nobody.
    # shellcheck disable=SC2086
    (cd "$workdir/begun" && exec rm -f $begun)
    # shellcheck disable=SC2086
    (cd "$workdir/attempts" && exec rm -rf $fresh)
    fresh='' some_stand=1
  fi
  [ -z "$some_stand" ] || for id in $asked; do is_fresh "$id" || say "$id" alone; done
  say end
}

# True for an attempt that was not here before.
is_fresh() { [ -z "$some_stand" ] || case "$fresh " in *" $1 "*) ;; *) return 1 ;; esac; }

# Fills the directories of many launches and forces their claims to the disk.
fill() {
  blob() { :; }
  attempt() {
    is_fresh "$1" || return 0
    dir=$workdir/attempts/$1
    # It began, and its directory is gone since.
    [ ! -e "$workdir/begun/$1.$2" ] || return 1
    begun="$begun $1.$2"
    {
      printf '' >"$workdir/begun/$1.$2" && : >"$dir/boot.$this_boot" && printf '%s\n' "$2" >"$dir/token" && printf '%4096s' '' >"$dir/.reserve" &&
        umask 077 && printf '%s' "$5" >"$dir/spec.json"
    } 2>/dev/null || return 1
    # A crew needs no more: it reads what was sent.
    if [ -z "$is_plain" ]; then {
      printf '%s' "$6" >"$dir/environment.sh" && umask "$usual_mask" && printf '%s' "$3" >"$dir/settings.sh" &&
        printf '%s' "$4" >"$dir/command" &&
        printf '%s\n' "# The supervisor, which reads it when it starts." ". '$quoted_self'" >"$dir/launch.sh"
    } 2>/dev/null || return 1; fi
    umask "$usual_mask"
    shift 6
    while [ $# -gt 1 ]; do
      cp -p -- "$stage/$1" "$dir/files/$2" 2>/dev/null || return 1
      shift 2
    done
  }
  is_plain=
  plain_attempt() {
    is_plain=1
    attempt "$@" || return 1
    is_plain=
    if is_fresh "$1"; then crew="$crew $1"; fi
  }
  usual_mask=$(umask)
  quoted_self=$(printf '%s' "$0" | sed "s/'/'\\\\''/g")
  # shellcheck disable=SC1091
  . "$stage/words" || return 1
  # Names alone, which file systems write together.
  # shellcheck disable=SC2086
  (cd "$workdir/attempts" && exec sync . ../begun $fresh) 2>/dev/null
}

# Starts the plain ones of many launches together, and says how they began. Where their pipe ends without a run's line,
# and it has no identity, nothing of it was started.
begin_crew() {
  set -f
  # shellcheck disable=SC2086
  set -- $crew
  set +f
  { setsid sh "$0" - crew "$workdir" "$leases" "$declared" "$skew" "$@" \
    <"$stage/words" 2>"$workdir/attempts/$1/supervisor.log" & } | {
    while read -r number; do
      eval "begun_$number=1 id=\${$number}"
      say "$id" started
    done
    number=0
    for id in "$@"; do
      number=$((number + 1))
      eval "is_told=\${begun_$number-}"
      if [ -n "$is_told" ]; then continue; fi
      dir=$workdir/attempts/$id
      if has_begun; then
        say "$id" started
      else
        unclaim "$id"
        say "$id" alone
      fi
    done
  }
}

# Says how the supervisors began. Argument: ID:PID ...
await_supervisors() {
  tries=0
  left=$1
  while [ -n "$left" ]; do
    now=$left left=
    for entry in $now; do
      id=${entry%:*}
      dir=$workdir/attempts/$id
      if has_begun; then
        say "$id" started
      elif [ -e "$dir/refusal" ]; then
        say "$id" "$(cat "$dir/refusal")"
        unclaim "$id"
      elif is_ours "${entry#*:}" && [ "$tries" -lt 3000 ]; then
        left="$left $entry"
      elif ! has_begun && [ ! -e "$dir/refusal" ]; then
        if ! kill_starting "${entry#*:}" || [ "$tries" -ge 3000 ]; then say "$id" gpu-busy "$too_slow"; else say "$id" alone; fi
        unclaim "$id"
      else
        left="$left $entry"
      fi
    done
    tries=$((tries + 1))
    [ -z "$left" ] || sleep 0.02
  done
}

# An exit record for an attempt that is not here: a launch of it may still be on its way, and then finds that it has
# ended. Arguments: id, reason.
bury() {
  stage=$workdir/incoming/$1.$$
  trap 'rm -rf "$stage"' EXIT
  has_room "$workdir" && mkdir -p "$workdir/attempts" "$stage/files" "$stage/dumps" &&
    : >"$stage/stdout.log" && : >"$stage/stderr.log" && write_exit "$stage" 143 "$(date +%s.%N)" "$2" &&
    mv -T "$stage" "$workdir/attempts/$1"
}

# Ends what lives of an attempt whose directory was taken from under it, or unmounted: its supervisor is known by its
# words, its command by the directory in its mark. False where something outlives KILL. Argument: its directory.
end_strays() {
  left=
  for file in $(grep -lzsxF supervise /proc/[0-9]*/cmdline 2>/dev/null); do
    number=${file#/proc/}
    number=${number%/cmdline}
    # What it started beside itself has the same words.
    grep -qzsxF -e "$1" "$file" && look_at "$number" && [ "$session" = "$number" ] || continue
    kill -KILL "$number" 2>/dev/null
    end_members "$number" "lost:$1" 0 || left=1
  done
  here=$(cd -P "${1%/*}" 2>/dev/null && pwd -P)/${1##*/}
  IFS=$newline
  for known in $(grep -hzs '^ROLLCALL_LAUNCH=' /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | sort -u); do
    unset IFS
    known=${known#ROLLCALL_LAUNCH=}
    [ "${known#*:}" = "$here" ] || continue
    # Of those with a session of their own, what hides its mark is theirs, too.
    sessions=-1
    for number in $(members -1 "$known" 0); do
      if look_at "$number" && [ "$session" = "$number" ]; then sessions="$sessions $number"; fi
    done
    for number in $sessions; do end_members "$number" "$known" 0 || left=1; done
  done
  unset IFS
  [ -z "$left" ]
}

# True where the supervisor of an attempt, found by `identity`, is that of others, too, which have not ended.
leads_others() {
  for file in $(cd "$workdir/attempts" && printf '%s\0' */identity | xargs -0 grep -ls "^$boot $pid $start " --); do
    other=${file%/identity}
    [ "$other" = "$1" ] || [ -e "$workdir/attempts/$other/exit.json" ] || return 0
  done
  return 1
}

# Ends everything of an attempt; says how it stands then. Arguments: id, reason.
stop() {
  dir=$workdir/attempts/$1
  if [ -e "$dir/exit.json" ]; then
    say stopped
    return
  fi
  # A launch in progress is waited for, so that nothing starts behind our back.
  lock_workdir || {
    if has_room "$workdir"; then say locked "$lock"; else say no-space "$workdir"; fi
    return
  }
  if [ ! -d "$dir" ]; then
    if ! end_strays "$dir"; then
      say alive "processes of a run whose directory is gone outlive KILL"
    elif bury "$1" "$2" 2>/dev/null; then
      say stopped
    else
      say no-space "$workdir"
    fi
    return
  fi
  mark=$(mark_of "$dir")
  if ! identity "$dir"; then
    # It never began; or its command has removed the file, and lives.
    if ! end_strays "$dir"; then
      say alive "processes of a run whose identity is gone outlive KILL"
    elif [ -e "$dir/exit.json" ] || write_exit "$dir" 143 "$(date +%s.%N)" "$2"; then
      say stopped
    fi
    return
  fi
  exec 9>&-
  [ "$boot" != "$this_boot" ] || disown_session "$dir"
  killed=
  if is_alive; then
    # Once: who reads it while it is written anew would find half of it.
    [ -s "$dir/cancel" ] || printf '%s\n' "$2" 2>/dev/null >"$dir/cancel"
    # Its supervisor would take it for the end of the host.
    [ -e "$dir/cancel" ] || {
      say no-space "$workdir"
      return
    }
    end=$(($(uptime_seconds) + 2 * grace + 5))
    # Without the word, which went with its directory, the supervisor of many would take it for the end of the host.
    while is_alive && [ -e "$dir/cancel" ] && [ ! -e "$dir/exit.json" ] && [ "$(uptime_seconds)" -lt "$end" ]; do
      # Again: a signal between two commands of the supervisor may be missed.
      kill -TERM "$pid" 2>/dev/null
      sleep 0.1
    done
    if [ ! -e "$dir/exit.json" ] && is_alive; then
      if ! leads_others "$1" && is_alive; then kill -KILL "$pid" 2>/dev/null; fi
      killed=1
    fi
  fi
  # Survivors of a supervisor that was killed; another boot has none.
  if [ "$boot" != "$(boot_id)" ] || end_members "$held" "$mark" "$spared"; then
    # Whoever was to write the record cannot any more.
    [ -z "$killed" ] || [ ! -d "$dir" ] || [ -e "$dir/exit.json" ] || write_exit "$dir" 137 "$(stat -c %Y "$dir/identity")" "$2"
    say stopped
  else
    say alive "processes outlive KILL: $(members "$held" "$mark" "$spared" | tr '\n' ' ')"
  fi
}

# True where nothing of an attempt can run any more. What a cluster runs is no process of this machine: its record says so.
has_ended() {
  if exit_record "$1" && { [ ! -e "$1/.reserve" ] || [ -e "$1/intent" ]; }; then return 0; fi
  if [ -e "$1/intent" ] || ! identity "$1" || is_alive; then return 1; fi
  [ "$boot" = "$this_boot" ] || return 0
  disown_session "$1"
  [ -z "$(members "$held" "$(mark_of "$1")" "$spared")" ]
}

# What the dumps of attempts that are over take, which goes with `apply`; all else of their directories stays, so that
# each is still known to have run. Standard input has lines "ID TOKEN". One line each: empty, freed BYTES or kept WHY.
prune() {
  attempts=$(cd -P "$workdir/attempts" 2>/dev/null && pwd -P)
  begun=$(cd -P "$workdir/begun" 2>/dev/null && pwd -P)
  while read -r id token; do
    prune_one "$id" "$token" "$1"
    case $1.$answer in apply.[!k]*) forget_launch "$id" "$token" ;; esac
    say "$id" "$answer"
  done
  say end
}

# Removes the name of a launch whose run directory tells that it has ended: that stays, and a launch which still arrives
# finds it. Where it is gone there is nothing but the name. Arguments: id, token.
forget_launch() {
  if [ -n "$begun" ] && [ -e "$begun/$1.$2" ] && has_ended "$attempts/$1"; then rm -f "$begun/$1.$2"; fi
}

# Sets answer.
prune_one() {
  case $1$2 in *[!A-Za-z0-9_-]*)
    answer='kept this is no name of an attempt'
    return
    ;;
  esac
  answer=empty
  # Entered, it stays the same whatever becomes of its name.
  [ -n "$attempts" ] && [ -n "$1" ] && cd -P "$attempts/$1" 2>/dev/null || return 0
  if [ "$PWD" != "$attempts/$1" ]; then
    answer='kept a link stands in place of its directory'
    return
  elif [ -L dumps ]; then
    answer='kept a link stands in place of its dumps'
    return
  fi
  for file in dumps/* dumps/.[!.]* dumps/..?*; do
    if [ -e "$file" ] || [ -L "$file" ]; then
      answer=
      break
    fi
  done
  [ -z "$answer" ] || return 0
  owner=
  { read -r owner <token; } 2>/dev/null
  if [ -z "$2" ] || [ "$owner" != "$2" ]; then
    answer="kept it is another launch's"
  elif ! has_ended .; then
    answer='kept it has not ended'
  else
    bytes=$(du -sb dumps 2>/dev/null | cut -f 1) own=$(stat -c %s dumps)
    answer="freed $((${bytes:-0} - ${own:-0}))"
    [ "$3" = apply ] || return 0
    problem=$({ rm -rf --one-file-system dumps && mkdir -m 700 dumps; } 2>&1) ||
      answer="kept not all could be removed: $(printf '%s' "$problem" | one_line)"
  fi
}

# Lets a share that was launched with `hold` begin.
go() {
  dir=$workdir/attempts/$1
  if [ ! -d "$dir" ]; then
    say absent
  elif [ -e "$dir/go" ]; then
    say released
  elif [ -e "$dir/exit.json" ]; then
    say ended
  elif { : >"$dir/go"; } 2>/dev/null; then
    say released
  else
    say no-space "$workdir"
  fi
}

log() {
  dir=$workdir/attempts/$1
  if [ ! -d "$dir" ]; then
    say absent
    return
  fi
  say log
  [ ! -f "$dir/$2" ] || tail -c "+$(($3 + 1))" "$dir/$2" | head -c "$4"
}

# True where systemd ends what a login leaves behind, and so every run when its connection ends. Lingering keeps no
# process of a login's own scope.
ends_at_logout() {
  [ -n "${XDG_SESSION_ID-}" ] && command -v busctl >/dev/null 2>&1 || return 1
  rules=$(timeout -k 1 5 busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
    org.freedesktop.login1.Manager KillUserProcesses KillExcludeUsers KillOnlyUsers 2>/dev/null </dev/null) || return 1
  { read -r _ kills && read -r _ _ spared && read -r _ count only; } <<END
$rules
END
  [ "$kills" = true ] || return 1
  me="\"$(id -un)\""
  case " $spared " in *" $me "*) return 1 ;; esac
  [ "$count" = 0 ] || case " $only " in *" $me "*) ;; *) return 1 ;; esac
}

enrol() {
  prepare flock setsid stat timeout head tail truncate sync du cmp grep sed sort || return 0
  say clock "$(date +%s.%N)"
  say boot "$(boot_id)"
  say home "$HOME"
  say workdir "$(pwd -P)"
  say node "$(uname -n)"
  say cpus "$(nproc 2>/dev/null || echo 1)"
  say disk "$(df -B1 --output=avail . | tail -n 1 | tr -d ' ')"
  if ends_at_logout; then say logout "$(id -un)"; fi
  say version kernel "$(uname -sr)"
  say version machine "$(uname -m)"
  find_cpu
  [ -z "$cpu" ] || say version cpu "$cpu"
  [ ! -r /etc/os-release ] || say version system "$(. /etc/os-release && echo "${PRETTY_NAME-}")"
  say version flock "$(flock --version 2>/dev/null | head -n 1)"
  if command -v nvidia-smi >/dev/null 2>&1; then
    driver=$(ask_nvidia --query-gpu=driver_version --format=csv,noheader 2>&1 | head -n 1)
    case $driver in
    [0-9]*)
      say driver "$driver"
      driver=
      ;;
    *) say version nvidia-smi "failed: $driver" ;;
    esac
  elif [ -r /sys/module/amdgpu/version ]; then
    say driver "$(cat /sys/module/amdgpu/version)"
  fi
  list=$(list_gpus)
  if [ -n "$list" ]; then
    printf '%s\n' "$list" | while read -r _ id name; do say gpu "$id" "$name"; done
  elif [ "$declared" != 0 ] && command -v nvidia-smi >/dev/null 2>&1 && { [ "$declared" != auto ] || [ -z "$driver" ]; }; then
    # GPUs are declared, or nothing says why there are none. (Many a host has the tool and no GPU, and is told so.)
    say untold "${driver:-nvidia-smi does not answer}"
  fi
  say end
}

# Runs a tool and says its output line by line under a word; says `WORD-failed` with its first line where it fails.
forward() {
  word=$1
  shift
  told=$(timeout -k 2 10 "$@" 2>&1 </dev/null)
  status=$?
  if [ "$status" -ne 0 ]; then
    say "$word-failed" "$status $(printf '%s' "$told" | one_line)"
    return
  fi
  printf '%s\n' "$told" | tr -d '\000-\010\013-\037' | cut -c 1-400 | head -n 1000 |
    while IFS= read -r line; do [ -z "$line" ] || say "$word" "$line"; done
}

# Who is on this host, for a person: GPUs as their tools tell, locks, our processes, memory, Python.
check() {
  { while read -r key value _; do
    case $key in
    MemTotal:) say memory total "$value" ;;
    MemAvailable:) say memory available "$value" ;;
    esac
  done </proc/meminfo; } 2>/dev/null
  say user "$(id -un 2>/dev/null || id -u)"
  say filesystem "$(stat -f -c %T "$workdir" 2>/dev/null)"
  if command -v nvidia-smi >/dev/null 2>&1; then
    say tool nvidia-smi
    forward nvidia nvidia-smi --query-gpu=uuid,memory.used,memory.total,utilization.gpu,name --format=csv,noheader,nounits
    forward nvidia-app nvidia-smi --query-compute-apps=gpu_uuid,pid,used_memory,process_name --format=csv,noheader,nounits
  elif command -v amd-smi >/dev/null 2>&1; then
    say tool amd-smi
    forward amd-list amd-smi static --asic --csv
    forward amd-memory amd-smi metric --mem-usage --csv
    forward amd-process amd-smi process --csv
  elif command -v rocm-smi >/dev/null 2>&1; then
    say tool rocm-smi
    forward rocm rocm-smi --showproductname --showmeminfo vram --csv
    forward rocm-process rocm-smi --showpids
  fi
  for file in "$leases"/*.lock; do
    [ -f "$file" ] || continue
    lease=${file##*/}
    lease=$(printf '%s' "${lease%.lock}" | plain | tr ' ' '_')
    if [ ! -r "$file" ]; then
      say lease "$lease" unknown
    elif (exec 3<"$file" && flock -n 3) 2>/dev/null; then
      say lease "$lease" free
    elif (exec 3<"$file" && flock -n -s 3) 2>/dev/null; then
      say lease "$lease" shared
    else
      say lease "$lease" held "$(head -c 300 "$file" 2>/dev/null | head -n 1 | plain)"
    fi
  done
  # Our processes, by attempt; the token stays here.
  grep -lzs '^ROLLCALL_LAUNCH=' /proc/[0-9]*/environ 2>/dev/null | head -n 4096 |
    while read -r file; do
      mark=$(tr '\0' '\n' <"$file" 2>/dev/null | grep -m 1 '^ROLLCALL_LAUNCH=')
      file=${file#/proc/}
      [ -z "$mark" ] || say ours "${file%/environ}" "$(printf '%s' "${mark##*/}" | plain)"
    done
  # Whose the processes on AMD and NVIDIA GPUs are.
  {
    ls "$kfd/proc" 2>/dev/null
    command -v nvidia-smi >/dev/null 2>&1 &&
      timeout -k 2 10 nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null </dev/null
  } | sort -un | head -n 512 | while read -r number; do
    case $number in '' | *[!0-9]*) continue ;; esac
    [ ! -d "/proc/$number" ] || say owner "$number" "$(stat -c %U "/proc/$number" 2>/dev/null)"
  done
  forward python python3 -c "$torch_facts"
  say end
}

# Ends what lives of the runs of a supervisor that was killed, the one of many runs. Argument: its process.
bereave() {
  for dir in "$workdir"/attempts/*; do
    if [ -e "$dir/exit.json" ] || ! identity "$dir"; then continue; fi
    if [ "$pid" = "$1" ] && [ "$boot" = "$this_boot" ] && [ -n "$held" ] && ! is_alive; then
      disown_session "$dir"
      end_members "$held" "$(mark_of "$dir")" "$spared"
    fi
  done
}

# A process that nothing but the end of the connection could end, and whether it still lives.
sleeper() {
  setsid sleep 60 </dev/null >/dev/null 2>&1 &
  sleeping=$!
  look_at "$sleeping" && say sleeper "$sleeping" "$started"
}
awake() {
  if look_at "$1" && [ "$started" = "$2" ] && [ "$state" != Z ]; then
    kill -KILL "$1" 2>/dev/null
    say awake
  else
    say gone
  fi
}

case $verb in
check) check ;;
sleeper) sleeper ;;
awake) awake "$@" ;;
bereave) bereave "$@" ;;
go) go "$@" ;;
enrol) enrol ;;
launch) launch "$@" ;;
launch-many) launch_many ;;
stop) stop "$@" ;;
log) log "$@" ;;
prune) prune "$@" ;;
*) say unknown "$verb" ;;
esac
