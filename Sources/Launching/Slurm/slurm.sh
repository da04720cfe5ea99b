#!/bin/sh
# What Rollcall runs on the login node of a Slurm cluster: submits, looks at and cancels jobs, one an attempt; and what
# such a job runs on its nodes. The text of agent.sh follows it in one file, since a job's command has the same
# supervisor as one on a host of a list.
#
#   slurm.sh NONCE slurm-VERB WORKDIR LEASEDIR GPUS [ARGUMENT...]
#   slurm.sh - slurm-job WORKDIR LEASEDIR DIRECTORY      the batch script
#   slurm.sh - slurm-gang DIRECTORY                      starts the command on every node of the job
#   slurm.sh - slurm-node DIRECTORY                      the command on one of them
#
# A job is known by its name, which is the attempt and its token: Slurm can lose a job that it has acknowledged and give
# its number to another. In the run directory stand, beside what agent.sh knows:
#
#   job      the number that sbatch told
#   claim/   made by the job that began: of two jobs for one attempt, only one runs anything
#   cancel   why we cancelled it
#   nodes/   the exit code of each node of a gang
#   signalled  Slurm told the job to end: its time was over, it was cancelled or had to make room

say() { printf '@%s %s\n' "$nonce" "$*"; }
one_line() { tr -s '\n\t\r' '   ' | tr -d '\000-\037' | head -c 400; }

# What a person has set for his own look at the queue is not for ours.
forget_settings() {
  for name in $(env | sed -n 's/^\(SQUEUE_[A-Z_]*\|SACCT_[A-Z_]*\|SINFO_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
  unset SBATCH_ARRAY_INX SBATCH_WAIT SBATCH_REQUEUE SBATCH_HINT SBATCH_EXPORT SLURM_TIME_FORMAT SLURM_EXIT_ERROR
}

lock_workdir() { (: >>"$workdir/.slurm.lock") 2>/dev/null && exec 9>>"$workdir/.slurm.lock" && flock -w 60 9; }

# Lines "NUMBER|STATE|REASON|NODES|EXIT|NAME" of our jobs that Slurm still has in mind. False where it cannot be asked.
queue() { squeue -h --me -t all -r -o '%A|%T|%r|%N||%j' 2>"$1"; }

# The same from the accounting, of some names. Argument: a file for what it says, names.
account() {
  trouble=$1
  shift
  names=$(echo "$*" | tr ' ' ',')
  sacct -X -n -P -S now-14days --name "$names" -o JobIDRaw,State,Reason,NodeList,ExitCode,JobName 2>"$trouble"
}

# Sets token and key of an attempt; false where there is none.
key_of() {
  token=
  { read -r token <"$workdir/attempts/$1/token"; } 2>/dev/null
  key=$1.$token
  [ -n "$token" ]
}

# --- The job

slurm_job() {
  dir=$1
  cd "$dir" || exit 95
  # Another job of this attempt has begun, or this one did before it was put back into the queue.
  mkdir claim 2>/dev/null || exit 97
  printf '%s %s %s %s\n' "$SLURM_JOB_ID" "${SLURM_RESTART_COUNT:-0}" "${SLURM_JOB_NODELIST:-?}" "$(date +%s)" \
    >claim/.job && mv claim/.job claim/job || exit 96
  # Stopped before it began.
  [ ! -e exit.json ] || exit 98
  # A session of its own: the supervisor knows its processes by it. Signals that Slurm sends reach it, too.
  setsid sh "$0" - supervise "$workdir" "$leases" auto "$dir" </dev/null >/dev/null 2>supervisor.log &
  # Slurm signals all processes at once: what the command made of that is not to be taken for its own end.
  trap ': >"$dir/signalled"' TERM
  wait
  tries=0
  while [ ! -e identity ] && [ ! -e refusal ] && [ "$tries" -lt 600 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  { read -r _ supervisor _ <identity; } 2>/dev/null
  while [ -n "${supervisor-}" ] && kill -0 "$supervisor" 2>/dev/null; do sleep 0.2; done
  code=$(sed -n 's/^{"code":\([0-9]*\),.*}$/\1/p' exit.json 2>/dev/null)
  exit "${code:-94}"
}

slurm_gang() {
  dir=$1
  mkdir -p "$dir/nodes"
  count=${SLURM_JOB_NUM_NODES:-1}
  # From 22.05 on, srun does not take this over from sbatch.
  [ -z "${SLURM_CPUS_PER_TASK-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
  srun --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --kill-on-bad-exit=1 --export=ALL \
    sh "$0" - slurm-node "$dir" </dev/null
  code=$?
  # Those that were ended since another had failed say 143 or 137, or nothing: the first that failed by itself is told.
  first='' victim='' well=0
  for file in $(ls -tr "$dir/nodes" 2>/dev/null); do
    told=
    { read -r told <"$dir/nodes/$file"; } 2>/dev/null
    case $told in
    0) well=$((well + 1)) ;;
    137 | 143) victim=${victim:-$told} ;;
    ?*) first=${first:-$told} ;;
    esac
  done
  first=${first:-$victim}
  [ "$well" -eq "$count" ] || [ -n "$first" ] || [ "$code" -ne 0 ] || first=1
  if [ "$well" -lt "$count" ]; then echo "$well of $count nodes ended well" >&2; fi
  exit "${first:-$code}"
}

slurm_node() {
  dir=$1
  gang_port='' allotted=0
  # shellcheck disable=SC1091
  . "$dir/settings.sh"
  NODE_RANK=$SLURM_PROCID NNODES=$SLURM_JOB_NUM_NODES MASTER_PORT=$gang_port
  # The first node by its name, where the nodes know it; else by the address from which this was started.
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" 2>/dev/null | head -n 1)
  { [ -n "$MASTER_ADDR" ] && getent hosts "$MASTER_ADDR" >/dev/null 2>&1; } || MASTER_ADDR=${SLURM_LAUNCH_NODE_IPADDR:-127.0.0.1}
  processes=$allotted
  [ "$processes" -gt 0 ] || processes=1
  WORLD_SIZE=$((NNODES * processes))
  PET_NNODES=$NNODES PET_NODE_RANK=$NODE_RANK PET_MASTER_ADDR=$MASTER_ADDR PET_MASTER_PORT=$MASTER_PORT
  PET_NPROC_PER_NODE=$processes
  export NODE_RANK NNODES MASTER_PORT MASTER_ADDR WORLD_SIZE
  export PET_NNODES PET_NODE_RANK PET_MASTER_ADDR PET_MASTER_PORT PET_NPROC_PER_NODE
  ROLLCALL_GPUS=${CUDA_VISIBLE_DEVICES:-${ROCR_VISIBLE_DEVICES-}}
  export ROLLCALL_GPUS
  cd "$dir/files" || exit 126
  # The job has the last word, and from here on names may be the user's.
  set -- "$dir/nodes" "$SLURM_PROCID" "$text"
  # shellcheck disable=SC1091
  . "$dir/environment.sh"
  /bin/sh -c "$3"
  set -- "$1" "$2" "$?"
  echo "$3" >"$1/.$2" && mv "$1/.$2" "$1/$2" || exit 1
  exit "$3"
}

# --- Verbs

# Says what the controller said, and ends.
unavailable() {
  say unavailable "$(one_line <"$1")"
  exit 0
}

slurm_enrol() {
  missing=
  for tool in sbatch squeue scancel sinfo scontrol flock setsid stat timeout head tail sync du cmp grep sed sort awk env; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
  done
  if [ -n "$missing" ]; then
    say missing "${missing# }"
    return
  fi
  problem=$({ mkdir -p "$workdir/attempts" "$workdir/incoming"; } 2>&1) || {
    say unusable "$(printf '%s' "$problem" | one_line)"
    return
  }
  cd "$workdir" || {
    say unusable "cannot enter it"
    return
  }
  (lock_workdir) || {
    say unusable "no lock can be had in it (flock); a network file system without locks cannot be used"
    return
  }
  config=$(scontrol show config 2>"$stage") || unavailable "$stage"
  setting() { printf '%s\n' "$config" | sed -n "s/^$1 *= *\([^ ]*\).*/\1/p" | head -n 1; }
  say clock "$(date +%s.%N)"
  say boot "slurm:$(setting ClusterName)"
  say home "$HOME"
  say workdir "$(pwd -P)"
  say node "$(uname -n)"
  say cpus "$(sinfo -h -o '%C' 2>/dev/null | awk -F / '{ n += $4 } END { print n + 0 }')"
  say disk "$(df -B1 --output=avail . | tail -n 1 | tr -d ' ')"
  say version slurm "$(setting SLURM_VERSION)"
  say version cluster "$(setting ClusterName)"
  say version accounting "$(setting AccountingStorageType)"
  say version max_jobs "$(setting MaxJobCount)"
  say version min_job_age "$(setting MinJobAge)"
  case $(setting AccountingStorageType) in
  *slurmdbd*)
    # What one user may submit, the least of it; nothing where there is no such limit.
    limit=$(timeout 10 sacctmgr -n -P show assoc user="$(id -un)" format=MaxSubmitJobs 2>/dev/null | grep -E '^[1-9]' | sort -n | head -n 1)
    [ -z "$limit" ] || say limit "$limit"
    ;;
  esac
  say end
}

# Many attempts: the first line says how many bytes follow that are words for this shell, calls of `blob` and `attempt`;
# then come the bytes of the files. One line an attempt: submitted, adopted, full, refused or no-space with a reason.
slurm_submit() {
  stage_dir=$workdir/incoming/slurm.$$
  trap 'rm -rf "$stage_dir" "$stage"' EXIT
  trap 'exit 1' HUP INT TERM PIPE
  asked=''
  mkdir -p "$workdir/attempts" "$workdir/incoming" 2>/dev/null
  mkdir "$stage_dir" 2>/dev/null && IFS= read -r size && head -c "$size" >"$stage_dir/words" 2>/dev/null &&
    [ "$(stat -c %s "$stage_dir/words")" = "$size" ] || {
    say no-space "$workdir"
    return
  }
  blob() { head -c "$2" >"$stage_dir/$1" && [ "$(stat -c %s "$stage_dir/$1")" = "$2" ] && chmod "$3" "$stage_dir/$1"; }
  attempt() { asked="$asked $1"; }
  # shellcheck disable=SC1091
  . "$stage_dir/words" 2>/dev/null || {
    say no-space "$workdir"
    return
  }
  # One at a time looks and submits; whoever died has let go.
  lock_workdir || {
    say unavailable "the lock $workdir/.slurm.lock cannot be had"
    return
  }
  jobs=$(queue "$stage") || unavailable "$stage"
  printf '%s\n' "$jobs" >"$stage_dir/jobs"
  quoted_self=$(printf '%s' "$0" | sed "s/'/'\\\\''/g")
  blob() { :; }
  attempt() { submit_one "$@" || return 0; }
  full=
  # shellcheck disable=SC1091
  . "$stage_dir/words"
  say end
}

# Arguments: id, token, settings, command, specification, environment, [number name]...
submit_one() {
  id=$1 dir=$workdir/attempts/$1 key=$1.$2
  if [ -e "$dir/token" ]; then
    if ! key_of "$id" || [ "$token" != "$2" ]; then
      say "$id" refused "the run directory $dir is another launch's"
      return
    fi
  fi
  # It has begun, or was stopped before.
  if [ -e "$dir/exit.json" ] || [ -e "$dir/claim" ]; then
    say "$id" adopted
    return
  fi
  # It may have been submitted by somebody who could not say so any more.
  number=$(awk -F '|' -v key="$key" '{ name = $6; for (i = 7; i <= NF; i++) name = name "|" $i } name == key { print $1; exit }' "$stage_dir/jobs")
  if [ -z "$number" ] && [ -e "$dir/intent" ]; then
    number=$(account "$stage" "$key" | head -n 1 | cut -d '|' -f 1)
    if [ -s "$stage" ] && ! grep -q 'accounting storage is disabled' "$stage"; then unavailable "$stage"; fi
  fi
  if [ -n "$number" ] || [ -s "$dir/job" ]; then
    mkdir -p "$dir/files" "$dir/dumps" && printf '%s\n' "$2" >"$dir/token" &&
      { [ -s "$dir/job" ] || printf '%s\n' "$number" >"$dir/job"; }
    say "$id" adopted
    return
  fi
  if [ -n "$full" ]; then
    say "$id" full "$full"
    return
  fi
  was_there=
  [ ! -e "$dir/intent" ] || was_there=1
  {
    mkdir -p "$dir/files" "$dir/dumps" && printf '%s\n' "$2" >"$dir/token" && printf '%s' "$3" >"$dir/settings.sh" &&
      printf '%s' "$4" >"$dir/command" && head -c 4096 /dev/zero >"$dir/.reserve" &&
      printf '%s\n' "#!/bin/sh" "exec sh '$quoted_self' - slurm-job $quoted_workdir $quoted_leases '$quoted_attempts/$id'" >"$dir/job.sh" &&
      (umask 077 && printf '%s' "$5" >"$dir/spec.json" && printf '%s' "$6" >"$dir/environment.sh")
  } 2>"$stage" || {
    refuse_submission "$id"
    return
  }
  shift 6
  while [ $# -gt 1 ]; do
    cp -p -- "$stage_dir/$1" "$dir/files/$2" 2>"$stage" || {
      refuse_submission "$id"
      return
    }
    shift 2
  done
  launcher=
  nodes=1 options=
  # shellcheck disable=SC1091
  . "$dir/settings.sh"
  if [ "$nodes" -gt 1 ]; then
    printf '\n%s\n' "launcher=$(quote "exec sh '$quoted_self' - slurm-gang '$quoted_attempts/$id'")" >>"$dir/settings.sh"
  fi
  # From here on Slurm may know it.
  : >"$dir/intent"
  log=$(printf '%s' "$dir/slurm.log" | sed 's/%/%%/g')
  eval "set -- $options"
  told=$(sbatch --parsable --job-name="$key" --comment="$key" --nodes="$nodes" "$@" --no-requeue --open-mode=append \
    --output="$log" --error="$log" --chdir="$dir" --export=ALL "$dir/job.sh" 2>"$stage" 9<&-)
  code=$?
  number=${told%%;*}
  if [ "$code" -eq 0 ] && [ -n "$number" ]; then
    printf '%s\n' "$number" >"$dir/.job" && mv "$dir/.job" "$dir/job"
    accepted=1
    say "$id" submitted "$number"
    return
  fi
  why=$(one_line <"$stage")
  case $why in
  *'Unable to contact'* | *'ocket timed out'* | *'onnection refused'* | *'rotocol authentication error'* | *'nexpected message'* | *'ransport endpoint'* | *'in standby mode'* | *'ommunication connection failure'* | *'ero Bytes were transmitted'*)
    # It may have arrived.
    unavailable "$stage"
    ;;
  *SubmitLimit* | *SubmitJobs* | *SubmitJob* | *'job submit limit'* | *'emporarily unable to accept'* | *'esource temporarily unavailable'*)
    # Where none of ours is there, none will ever make room.
    if grep -qE '\|(PENDING|RUNNING|COMPLETING|CONFIGURING|SUSPENDED)\|' "$stage_dir/jobs" || [ -n "$accepted" ]; then
      full=$why
      say "$id" full "$why"
    else
      say "$id" refused "$why"
    fi
    ;;
  *) say "$id" refused "sbatch says: $why" ;;
  esac
  # For sure nothing of it is in the queue; another attempt follows.
  [ -n "$was_there" ] || rm -rf "$dir"
}

# Says why the run directory could not be filled.
refuse_submission() {
  why=$(one_line <"$stage")
  rm -rf "${workdir:?}/attempts/$1"
  if head -c 65536 /dev/zero >"$workdir/.room" 2>/dev/null; then say "$1" refused "$why"; else say "$1" no-space "$workdir"; fi
  rm -f "$workdir/.room"
}

# How attempts stand, each named on a line of standard input. Of each: what its directory tells, then what Slurm does.
slurm_status() {
  trap 'rm -f "$stage" "$stage.keys" "$stage.jobs" "$stage.lost"' EXIT
  : >"$stage.keys"
  while read -r id; do
    dir=$workdir/attempts/$id
    if [ ! -d "$dir" ]; then
      say dir "$id" absent
      continue
    fi
    job=- claim=- cancel=- refusal=- record=
    { read -r job <"$dir/job"; } 2>/dev/null
    [ ! -e "$dir/claim" ] || claim='? 0 ? 0'
    { read -r claim <"$dir/claim/job"; } 2>/dev/null
    { read -r cancel <"$dir/cancel"; } 2>/dev/null
    { read -r refusal <"$dir/refusal"; } 2>/dev/null
    { IFS= read -r record <"$dir/exit.json"; } 2>/dev/null
    case $record in '{'*'}') ;; *) record= ;; esac
    say dir "$id" there
    [ "$job" = - ] || [ -z "$job" ] || say job "$id" "$job"
    [ "$claim" = - ] || say claim "$id" "$claim"
    [ "$cancel" = - ] || say cancel "$id" "$cancel"
    [ "$refusal" = - ] || say refusal "$id" "$refusal"
    [ -z "$record" ] || say exit "$id" "$record"
    [ ! -e "$dir/signalled" ] || say signalled "$id" yes
    if key_of "$id"; then printf '%s\n' "$key" >>"$stage.keys"; fi
  done
  # Afterwards: a job that waits cannot have begun before, unless it was put back.
  queue "$stage" >"$stage.jobs" || unavailable "$stage"
  select_jobs "$stage.keys" "$stage.jobs" | while IFS= read -r line; do say queue "$line"; done
  # What Slurm has forgotten, its accounting may know.
  awk -F '|' 'FILENAME == ARGV[1] { known[$NF]; next } !($0 in known)' "$stage.jobs" "$stage.keys" >"$stage.lost"
  if [ -s "$stage.lost" ]; then
    split_lost=$(xargs -n 100 echo <"$stage.lost")
    printf '%s\n' "$split_lost" | while read -r names; do
      # shellcheck disable=SC2086
      told=$(account "$stage" $names) || {
        grep -q 'accounting storage is disabled' "$stage" || say accounting-failed "$(one_line <"$stage")"
        break
      }
      printf '%s\n' "$told" >"$stage.jobs"
      select_jobs "$stage.lost" "$stage.jobs" | while IFS= read -r line; do say accounting "$line"; done
    done
  fi
  say end
}

# The rows of the jobs with one of the names. Our names hold no |.
select_jobs() { awk -F '|' 'FILENAME == ARGV[1] { wanted[$0]; next } $NF in wanted' "$1" "$2"; }

# An exit record for what never began, or left none. Arguments: directory, reason.
end_record() {
  [ ! -e "$1/exit.json" ] || return 0
  [ -e "$1/stdout.log" ] || : >"$1/stdout.log"
  [ -e "$1/stderr.log" ] || : >"$1/stderr.log"
  now=$(date +%s)
  printf '{"code":143,"signal":15,"started":%s,"ended":%s,"reason":"%s"}\n' "$now" "$now" "$2" >"$1/.exit" &&
    sync "$1/.exit" 2>/dev/null && mv "$1/.exit" "$1/exit.json"
}

# Cancels the job of an attempt; says so when nothing of it is in the queue. Arguments: id, reason.
slurm_stop() {
  id=$1 dir=$workdir/attempts/$1
  # A submission under way is waited for, so that none follows behind our back.
  lock_workdir || {
    say unavailable "the lock $workdir/.slurm.lock cannot be had"
    return
  }
  mkdir -p "$dir/files" "$dir/dumps" && { [ -e "$dir/exit.json" ] || printf '%s\n' "$2" >"$dir/cancel"; } || {
    say no-space "$workdir"
    return
  }
  # A job that has not begun finds this, and does nothing.
  if [ ! -e "$dir/claim" ]; then
    end_record "$dir" "$2" || {
      say no-space "$workdir"
      return
    }
  fi
  exec 9>&-
  if ! key_of "$id"; then
    say stopped
    return
  fi
  scancel --quiet --user="$(id -un)" --name="$key" 2>"$stage" || ! grep -qi 'unable to contact\|timed out\|refused\|standby' "$stage" || unavailable "$stage"
  tries=0
  while :; do
    left=$(squeue -h --me -n "$key" -t all -o %T 2>"$stage") || unavailable "$stage"
    left=$(printf '%s\n' "$left" | grep -E '^(PENDING|RUNNING|CONFIGURING|COMPLETING|SUSPENDED|STOPPED|SIGNALING|STAGE_OUT|RESIZING|REQUEUED|REQUEUE_HOLD|REQUEUE_FED|SPECIAL_EXIT)$' | tr '\n' ' ')
    [ -n "$left" ] || break
    tries=$((tries + 1))
    if [ "$tries" -ge 90 ]; then
      say alive "Slurm still shows its job as $left"
      return
    fi
    [ "$tries" -ne 45 ] || scancel --quiet --user="$(id -un)" --name="$key" --signal=KILL --full 2>/dev/null
    sleep 1
  done
  end_record "$dir" "$2"
  say stopped
}

# What the cluster is and how full: for a person.
slurm_check() {
  list() {
    word=$1
    shift
    told=$("$@" 2>"$stage") || {
      say failed "$1: $(one_line <"$stage")"
      return
    }
    printf '%s\n' "$told" | head -n 20000 | while IFS= read -r line; do [ -z "$line" ] || say "$word" "$line"; done
  }
  say user "$(id -un 2>/dev/null || id -u)"
  list partition sinfo -h -o '%R|%a|%l'
  list node sinfo -h -N -O 'PartitionName:|,NodeList:|,StateLong:|,Gres:|,GresUsed:|,CPUsState:'
  list reason sinfo -h -R -o '%N|%t|%E'
  list own squeue -h --me -o '%T|%r'
  if command -v sacct >/dev/null 2>&1 && ! told=$(sacct -X -n -S now-1minutes 2>&1 >/dev/null); then
    case $told in *'accounting storage is disabled'*) ;; *) say accounting-failed "$(printf '%s' "$told" | one_line)" ;; esac
  fi
  say end
}

case ${2-} in
slurm-job)
  workdir=$3 leases=$4
  slurm_job "$5"
  ;;
slurm-gang)
  slurm_gang "$3"
  exit
  ;;
slurm-node)
  slurm_node "$3"
  exit
  ;;
slurm-*)
  nonce=$1 verb=$2 workdir=$3 leases=$4
  shift 5
  umask 022
  forget_settings
  stage=$(mktemp) || {
    say unusable "no temporary file can be made"
    exit
  }
  trap 'rm -f "$stage"' EXIT
  quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
  # Nodes see the same paths, but stand elsewhere.
  case $verb in slurm-submit) workdir=$(mkdir -p "$workdir" 2>/dev/null && cd "$workdir" && pwd -P) || workdir=$3 ;; esac
  quoted_workdir=$(quote "$workdir") quoted_leases=$(quote "$leases")
  quoted_attempts=$(printf '%s' "$workdir/attempts" | sed "s/'/'\\\\''/g")
  accepted=
  case $verb in
  slurm-enrol) slurm_enrol ;;
  slurm-submit) slurm_submit ;;
  slurm-status) slurm_status ;;
  slurm-stop) slurm_stop "$@" ;;
  slurm-check) slurm_check ;;
  *) say unknown "$verb" ;;
  esac
  exit
  ;;
esac
