# What Rollcall runs on the login node of a Slurm cluster: submits, looks at and cancels jobs, one an attempt; and what
# such a job runs on its nodes. The text of agent.sh follows it in one file, since a job's command has the same
# supervisor as one on a host of a list.
#
#   slurm.sh NONCE slurm-VERB WORKDIR LEASEDIR GPUS [ARGUMENT...]
#   slurm.sh - slurm-job WORKDIR LEASEDIR DIRECTORY      the batch script
#   slurm.sh - slurm-element WORKDIR LEASEDIR ARRAY      the batch script of an array's element
#   slurm.sh - slurm-gang DIRECTORY                      starts the command on every node of the job
#   slurm.sh - slurm-node DIRECTORY                      the command on one of them
#   slurm.sh - slurm-copy DIRECTORY SCRATCH WORD         brings one node's dumps; WORD is copy or drop
#
# A job is known by its name, which is the attempt and its token: Slurm can lose a job that it has acknowledged and give
# its number to another. Where hundreds of one shape go together, they are the elements of an array: its name is made of
# the attempts' names, and `arrays/NAME/attempts` says in its lines which element is which attempt. In the run directory
# stand, beside what agent.sh knows:
#
#   intent   from here on Slurm may know a job of it, or an element of the array that it names
#   job.sh   the batch script; slurm.log what Slurm and srun said
#   job      the number that sbatch told, and the element's
#   claim/   made by the job that began: of two jobs for one attempt, only one runs anything
#   cancel   why we cancelled it
#   nodes/   the exit code of each node of a gang
#   signalled  Slurm told the job to end: its time was over, it was cancelled or had to make room
#   copying  its command has ended, and dumps are brought from the disks of its nodes
#   places/  the nodes that made a place for them; brought: at least one such place was emptied
#   uncopied why not all of them could be brought, or why there was no place for them
#   avoided  nodes that failed an earlier attempt of the run, and are not to have this one
#   failed-on  the nodes of a job that ended before it began anything
#   doubles  the numbers of jobs that came late beside another one of the attempt, and were cancelled
#   held     those of them that a look has held, and has neither cancelled nor released yet
#
# A job that begins leaves the name of its attempt in the work directory's `begun`, as a launch of agent.sh does.

# What a person has set for his own look at the queue is not for ours.
forget_settings() {
  for name in $(env | sed -n 's/^\(SQUEUE_[A-Z_]*\|SACCT_[A-Z_]*\|SINFO_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
  unset SBATCH_ARRAY_INX SBATCH_WAIT SBATCH_REQUEUE SBATCH_HINT SBATCH_EXPORT SBATCH_CLUSTERS SBATCH_GPUS SBATCH_GRES \
    SBATCH_EXCLUSIVE
  # Nor are the job's in whose allocation we may stand.
  for name in $(env | sed -n 's/^\(SLURM_[A-Z0-9_]*\|SRUN_[A-Z0-9_]*\)=.*/\1/p'); do
    case $name in SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT) ;; *) unset "$name" ;; esac
  done
}

lock_workdir() { (: >>"$workdir/.slurm.lock") 2>/dev/null && exec 9>>"$workdir/.slurm.lock" && flock -w 120 9; }

# Lines "NUMBER|STATE|REASON|NODES|EXIT|NAME" of our jobs that Slurm still has in mind, in hidden partitions, too. False
# where it cannot be asked. Arguments: a file for what it says then, the format of the number.
queue() {
  squeue -h -a --me -t all -r -o "${2:-%A}|%T|%r|%N||%K|%j" >"$1.queue" 2>"$1" || return 1
  name_elements <"$1.queue"
}

# Rows with the element before the name become rows of attempts. Those of arrays that are not ours are left out.
name_elements() {
  awk -F '|' -v OFS='|' -v arrays="$workdir/arrays" '
    NF >= 7 {
      name = $7
      for (i = 8; i <= NF; i++) name = name "|" $i
      if (name ~ /^rollcall-array-[0-9a-f]+$/) {
        if (!(name in known)) {
          known[name]
          file = arrays "/" name "/attempts"
          for (n = 0; (getline line <file) > 0; n++) attempt[name "_" n] = line
          close(file)
        }
        # sacct writes NUMBER_ELEMENT.
        sub(/^[0-9]+_/, "", $6)
        if (!((name "_" $6) in attempt)) next
        name = attempt[name "_" $6]
      }
      print $1, $2, $3, $4, $5, name
    }'
}

# The same of jobs that Slurm has forgotten, by their names: from the accounting; where that is off, from the log of ended
# jobs. Nothing where this machine has neither, else it sets has_memory; false where they cannot be asked. Arguments: a file
# for what is said then, one with names.
account() {
  unasked='' has_memory=
  xargs -n 500 echo <"$2" >"$2.lines"
  while IFS= read -r names; do
    [ -z "$names" ] || account_some "$1" "$names" || {
      unasked=1
      break
    }
  done <"$2.lines" >"$2.rows"
  name_elements <"$2.rows"
  [ -z "$unasked" ]
}

account_some() {
  : >"$1"
  if command -v sacct >/dev/null 2>&1; then
    sacct -X -n -P -S now-14days --name "$(echo "$2" | tr ' ' ',')" \
      -o JobIDRaw,State,Reason,NodeList,ExitCode,JobID,JobName 2>"$1" && has_memory=1 && return
    grep -q 'accounting storage is disabled' "$1" || return 1
    : >"$1"
  fi
  config=${config:-$(scontrol show config 2>"$1")}
  [ -n "$config" ] || return 1
  find_job_log
  [ -z "$job_log" ] || has_memory=1
  [ -z "$job_log" ] || tail -c 67108864 "$job_log" 2>/dev/null | awk -v names="$2" -v user="($(id -u))" '
    BEGIN { count = split(names, all, " "); for (i = 1; i <= count; i++) wanted[all[i]] }
    # Another user may name a job as he likes.
    $2 !~ /^UserId=/ || substr($2, length($2) - length(user) + 1) != user { next }
    {
      split("", told)
      for (i = 1; i <= NF; i++) {
        word = substr($i, 1, index($i, "="))
        if (!(word in told)) told[word] = substr($i, length(word) + 1)
      }
      if (!(told["Name="] in wanted)) next
      sub(/^\(null\)$/, "", told["NodeList="])
      print told["JobId="] "|" told["JobState="] "||" told["NodeList="] "|" told["ExitCode="] \
        "|" told["ArrayTaskId="] "|" told["Name="]
    }'
}

# One word of config, what `scontrol show config` says.
setting() { printf '%s\n' "$config" | sed -n "s/^$1 *= *\([^ ]*\).*/\1/p" | head -n 1; }

# Sets job_log: where the cluster writes a line of each job that has ended; empty where it cannot be read here.
find_job_log() {
  job_log=
  case $(setting JobCompType) in *filetxt) job_log=$(setting JobCompLoc) ;; esac
  [ -r "$job_log" ] && [ -f "$job_log" ] || job_log=
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
  # Known where this directory is gone and Slurm has forgotten the job.
  key_of "${dir##*/}" && mkdir -p "$workdir/begun" && printf '' >"$workdir/begun/$key" || exit 96
  # Stopped before it began.
  [ ! -e exit.json ] || exit 98
  scratch=
  # shellcheck disable=SC1091
  . "$dir/settings.sh"
  [ -z "$scratch" ] || make_scratch || {
    mv uncopied refusal
    exit 95
  }
  # A session of its own: the supervisor knows its processes by it. Signals that Slurm sends reach it, too.
  setsid sh "$0" - supervise "$workdir" "$leases" auto "$dir" </dev/null >/dev/null 2>supervisor.log &
  # Slurm signals all processes at once: what the command made of that is not to be taken for its own end.
  trap ': >"$dir/signalled"' TERM
  # Soon its time is over: as if our own limit were, so that what it has left is still brought.
  trap '{ read -r _ supervisor _ <"$dir/identity"; } 2>/dev/null && kill -USR1 "$supervisor"' USR1
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

# --- Dumps on the disks of the nodes

# A place for them on this node. False where there is none, with the reason in DIRECTORY/uncopied.
make_scratch() {
  base=${scratch%/*} node=${SLURMD_NODENAME:-$(uname -n)}
  command -v diff >/dev/null 2>&1 || {
    printf '%s has no diff (diffutils), by which copies of dumps are checked\n' "$node" >"$dir/uncopied"
    return 1
  }
  # What jobs have left that were killed: their runs are over, or gone.
  for owner in "$base"/rollcall-*.of; do
    [ -f "$owner" ] && [ -O "$owner" ] && IFS= read -r run <"$owner" || continue
    case $run in /*/attempts/*) ;; *) continue ;; esac
    if [ -e "$run/exit.json" ] || { [ -d "${run%/*}" ] && [ ! -e "$run" ]; }; then
      rm -rf "${owner%.of}" "${owner%.of}.taken" "$owner"
    fi
  done
  problem=$({ mkdir -p "$base" "$dir/places" && printf '%s\n' "$dir" >"$scratch.of" && make_place; } 2>&1) || {
    printf 'no directory for dumps could be made on %s: %s\n' "$node" "$(printf '%s' "$problem" | one_line)" >"$dir/uncopied"
    return 1
  }
}

# Of nodes that share it, one makes it.
make_place() {
  if mkdir -m 700 "$scratch" 2>/dev/null; then : >"$dir/places/$node"; else mkdir -p -m 700 "$scratch"; fi
}

# Of the supervisor: sets reason where a command that ended well has dumps that could not be brought.
bring_dumps() {
  word=copy
  case $reason in '' | timeout | stalled | contended | no-space) ;; *) word=drop ;; esac
  : 2>/dev/null >"$dir/copying"
  if [ -e "$dir/uncopied" ]; then
    # It had no place for them.
    reason=not-copied
  elif [ "${nodes:-1}" -gt 1 ]; then
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --export=ALL \
      sh "$0" - slurm-copy "$dir" "$scratch" "$word" </dev/null
  else
    slurm_copy "$dir" "$scratch" "$word"
  fi || [ "$code" -ne 0 ] || [ -n "$reason" ] || reason=not-copied
  rm -f "$dir/copying"
}

# Brings one node's dumps: copied aside, compared byte by byte, renamed. Arguments: run directory, the place of the
# dumps, copy or drop.
slurm_copy() (
  dir=$1 scratch=$2 node=${SLURMD_NODENAME:-$(uname -n)}
  # Nodes that share the place, since it is not on their own disks: one is enough.
  mkdir "$scratch.taken" 2>/dev/null || { [ -d "$scratch.taken" ] && exit 0; }
  if [ ! -e "$scratch" ] && [ -e "$dir/brought" ] && [ ! -e "$dir/places/$node" ]; then
    # It has come and gone.
    rm -rf "$scratch.taken"
    exit 0
  fi
  code=0
  [ "$3" = drop ] || copy_dumps || {
    code=1
    printf '%s: %s\n' "$node" "$(printf '%s' "$problem" | one_line)" 2>/dev/null >"$dir/uncopied"
  }
  : 2>/dev/null >"$dir/brought"
  rm -rf "$scratch" "$scratch.taken" "$scratch.of"
  exit "$code"
)

# Sets problem where it fails.
copy_dumps() {
  stage="$dir/.dumps.$node" tries=0
  until problem=$({ cp -RPp "$scratch" "$stage" && sync -f "$stage" && diff -r -q --no-dereference "$scratch" "$stage"; } 2>&1); do
    # Half of them are no use, and may be what fills it.
    rm -rf "$stage"
    tries=$((tries + 1))
    [ "$tries" -lt 3 ] || return 1
    sleep "$((tries * 3))"
  done
  chmod 755 "$stage"
  if [ "${SLURM_JOB_NUM_NODES:-1}" -eq 1 ] && rmdir "$dir/dumps" 2>/dev/null; then
    problem=$(mv "$stage" "$dir/dumps" 2>&1)
    return
  fi
  problem=$(
    cd "$stage" && find . -type d -exec sh -c 'to=$1; shift; for name; do mkdir -p "$to/$name"; done' sh "$dir/dumps" {} + 2>&1 &&
      find . ! -type d -exec sh -c '
        to=$1
        shift
        for name; do
          mv -n "$name" "$to/$name"
          # Another node has written it, too.
          [ ! -e "$name" ] || cmp -s "$name" "$to/$name" || echo "another node wrote $name with other contents"
        done' sh "$dir/dumps" {} + 2>&1
  ) && [ -z "$problem" ] || return 1
  rm -rf "$stage"
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
  gang_port='' allotted=0 scratch=
  # shellcheck disable=SC1091
  . "$dir/settings.sh"
  NODE_RANK=$SLURM_PROCID NNODES=$SLURM_JOB_NUM_NODES MASTER_PORT=$gang_port
  # The first node by its name, where the nodes know it; else by the address from which this was started.
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" 2>/dev/null | head -n 1)
  { [ -n "$MASTER_ADDR" ] && getent hosts "$MASTER_ADDR" >/dev/null 2>&1; } || MASTER_ADDR=${SLURM_LAUNCH_NODE_IPADDR:-127.0.0.1}
  if [ -n "${scratch-}" ]; then make_scratch || exit 1; fi
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

# Keeps the least of all limits. Arguments: number of jobs, whose limit that is.
at_most() {
  case $1 in '' | *[!0-9]*) return 0 ;; esac
  [ -n "$least" ] && [ "$1" -ge "$least" ] || least=$1 least_of=$2
}

# What one user may have submitted, by the association and the QoS that its jobs have. Arguments as of slurm_enrol.
find_limits() {
  user=$(id -un) account=$1 qos=$2 partition=$3
  manager() { timeout 10 sacctmgr -n -P show "$@" 2>/dev/null; }
  [ -n "$account" ] || account=$(manager user "$user" format=defaultaccount | head -n 1)
  [ -n "$partition" ] || partition=$(sinfo -h -a -o '%P' 2>/dev/null | sed -n 's/\*$//p' | head -n 1)
  cluster=$(setting ClusterName)
  manager assoc cluster="$cluster" account="$account" format=user,partition,maxsubmitjobs,grpsubmitjobs,defaultqos >"$stage"
  while IFS='|' read -r owner place most group default; do
    case $owner in '' | "$user") ;; *) continue ;; esac
    case $place in '' | "$partition") ;; *) continue ;; esac
    [ -z "$owner" ] || at_most "$most" "MaxSubmitJobs of account $account"
    at_most "$group" "GrpSubmitJobs of account $account"
    [ -n "$qos" ] || [ -z "$owner" ] || qos=$default
  done <"$stage"
  place=$(scontrol show partition "$partition" 2>/dev/null | sed -n 's/.* QoS=\([^ ]*\).*/\1/p' | head -n 1)
  manager qos format=name,maxsubmitpu,maxsubmitpa,grpsubmit >"$stage"
  while IFS='|' read -r name most share group; do
    case $name in "${qos:-normal}" | "$place") ;; *) continue ;; esac
    at_most "$most" "MaxSubmitJobsPerUser of QoS $name"
    at_most "$share" "MaxSubmitJobsPerAccount of QoS $name"
    at_most "$group" "GrpSubmitJobs of QoS $name"
  done <"$stage"
}

# Says what the controller said, and ends.
unavailable() {
  say unavailable "$(one_line <"$1")"
  exit 0
}

# Arguments: account, QoS, partition, each empty where Slurm chooses.
slurm_enrol() {
  prepare sbatch squeue scancel sinfo scontrol flock setsid stat timeout head tail truncate sync du cmp grep sed sort awk env xargs sha256sum || return 0
  config=$(scontrol show config 2>"$stage") || unavailable "$stage"
  say clock "$(date +%s.%N)"
  say boot "slurm:$(setting ClusterName)"
  say home "$HOME"
  say workdir "$(pwd -P)"
  say node "$(uname -n)"
  say cpus "$(sinfo -h -a -o '%C' 2>/dev/null | awk -F / '{ n += $4 } END { print n + 0 }')"
  say disk "$(df -B1 --output=avail . | tail -n 1 | tr -d ' ')"
  say version slurm "$(setting SLURM_VERSION)"
  say version cluster "$(setting ClusterName)"
  say version accounting "$(setting AccountingStorageType)"
  find_job_log
  [ -z "$job_log" ] || say version job_log "$job_log"
  say version max_jobs "$(setting MaxJobCount)"
  say version min_job_age "$(setting MinJobAge)"
  least= least_of=
  at_most "$(setting MaxJobCount)" "MaxJobCount of the cluster"
  case $(setting AccountingStorageEnforce) in
  *limits* | *safe*) find_limits "$@" ;;
  esac
  [ -z "$least" ] || say limit "$least" "$least_of"
  say end
}

# Many attempts: the first line says how many bytes follow that are words for this shell, calls of `blob`, `attempt` and
# `element`; then come the bytes of the files. One line an attempt: submitted, adopted, begun, full, unsure, refused or
# no-space with a reason.
slurm_submit() {
  trap 'exit 1' HUP INT TERM PIPE
  mkdir -p "$workdir/attempts" "$workdir/incoming" 2>/dev/null
  # What is sent may hold secrets, and this file system is everybody's.
  stage_dir=$(mktemp -d "$workdir/incoming/slurm.XXXXXX" 2>"$stage") || {
    if grep -qi 'no space\|quota' "$stage"; then say no-space "$workdir"; else say unavailable "$(one_line <"$stage")"; fi
    return
  }
  trap 'rm -rf "$stage_dir" "$temporary"' EXIT
  IFS= read -r size && head -c "$size" >"$stage_dir/words" 2>/dev/null &&
    [ "$(stat -c %s "$stage_dir/words")" = "$size" ] || {
    say no-space "$workdir"
    return
  }
  blob() { head -c "$2" >"$stage_dir/$1" && [ "$(stat -c %s "$stage_dir/$1")" = "$2" ] && chmod "$3" "$stage_dir/$1"; }
  attempt() { :; }
  element() { :; }
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
  queue "$stage" >"$stage_dir/jobs" || unavailable "$stage"
  # Of those that somebody was about to submit before, the accounting may know what Slurm has forgotten.
  blob() { :; }
  attempt() {
    dir=$workdir/attempts/$1
    [ -e "$dir/intent" ] && [ ! -s "$dir/job" ] && [ ! -e "$dir/claim" ] && [ ! -e "$dir/exit.json" ] || return 0
    array=
    { read -r array <"$dir/intent"; } 2>/dev/null
    printf '%s|%s\n' "$array" "$1.$2" >>"$stage_dir/tried"
  }
  element() { shift && attempt "$@"; }
  : >"$stage_dir/tried"
  # shellcheck disable=SC1091
  . "$stage_dir/words"
  awk -F '|' 'FILENAME == ARGV[1] { known[$NF]; next }
    !($2 in known) { print $2; if ($1 != "" && !seen[$1]++) print $1 }' "$stage_dir/jobs" "$stage_dir/tried" >"$stage_dir/names"
  unaccounted=
  account "$stage" "$stage_dir/names" >"$stage_dir/ended" || unaccounted=$(one_line <"$stage")
  quoted_self=$(printf '%s' "$0" | sed "s/'/'\\\\''/g")
  attempt() { ! prepare_one "$@" || submit_one || return 0; }
  element() {
    shape=$1
    shift
    # They are submitted when all are ready.
    ! prepare_one "$@" || printf '%s %s %s\n' "$key" "$id" "$was_there" >>"$stage_dir/shape.$shape" || return 0
  }
  full=
  # shellcheck disable=SC1091
  . "$stage_dir/words"
  for list in "$stage_dir"/shape.*; do [ ! -e "$list" ] || submit_array "$list"; done
  say end
}

# Makes the run directory `dir`: this file system is everybody's, and the nodes come as the same user.
make_directory() { mkdir -p "${dir%/*}" && (umask 077 && mkdir -p "$dir/files" "$dir/dumps"); }

# Fills a run directory. False where its attempt is not to be submitted, which is then said. Arguments: id, token, settings,
# command, specification, environment, [number name]...
prepare_one() {
  id=$1 dir=$workdir/attempts/$1 key=$1.$2
  if [ -e "$dir/token" ]; then
    if ! key_of "$id" || [ "$token" != "$2" ]; then
      say "$id" refused "the run directory $dir is another launch's"
      return 1
    fi
  fi
  # Its command may have removed the directory. No job of it follows.
  if [ ! -d "$dir" ] && [ -e "$workdir/begun/$key" ]; then
    say "$id" begun
    return 1
  fi
  # It has begun, or was stopped before.
  if [ -e "$dir/exit.json" ] || [ -e "$dir/claim" ]; then
    say "$id" adopted
    return 1
  fi
  # It may have been submitted by somebody who could not say so any more.
  number=$(awk -F '|' -v key="$key" '$NF == key { print $1; exit }' "$stage_dir/jobs" "$stage_dir/ended")
  if [ -n "$number" ] || [ -s "$dir/job" ]; then
    make_directory && printf '%s\n' "$2" >"$dir/token" &&
      { [ -s "$dir/job" ] || printf '%s\n' "$number" >"$dir/job"; }
    say "$id" adopted
    return 1
  fi
  was_there=0
  [ ! -e "$dir/intent" ] || was_there=1
  if [ -n "$unaccounted" ] && [ "$was_there" = 1 ]; then
    # It may have been a job that has ended.
    say "$id" unsure "Slurm's accounting cannot be asked: $unaccounted"
    return 1
  fi
  if [ -n "$full" ]; then
    say "$id" full "$full"
    return 1
  fi
  {
    make_directory && printf '%s\n' "$2" >"$dir/token" && printf '%s' "$3" >"$dir/settings.sh" &&
      printf '%s' "$4" >"$dir/command" && head -c 4096 /dev/zero >"$dir/.reserve" &&
      printf '%s\n' "#!/bin/sh" "exec sh '$quoted_self' - slurm-job $quoted_workdir $quoted_leases '$quoted_attempts/$id'" >"$dir/job.sh" &&
      (umask 077 && printf '%s' "$5" >"$dir/spec.json" && printf '%s' "$6" >"$dir/environment.sh")
  } 2>"$stage" || {
    refuse_submission "$id" "$was_there"
    return 1
  }
  shift 6
  while [ $# -gt 1 ]; do
    cp -p -- "$stage_dir/$1" "$dir/files/$2" 2>"$stage" || {
      refuse_submission "$id" "$was_there"
      return 1
    }
    shift 2
  done
  read_settings "$id"
  if [ "$nodes" -gt 1 ]; then
    printf '\n%s\n' "launcher=$(quote "exec sh '$quoted_self' - slurm-gang '$quoted_attempts/$id'")" >>"$dir/settings.sh"
  fi
}

# Sets nodes, options, earlier and throttle.
read_settings() {
  nodes=1 options='' earlier='' throttle=''
  # shellcheck disable=SC1091
  . "$workdir/attempts/$1/settings.sh"
}

# Submits the attempt that was just prepared.
submit_one() {
  find_avoided
  # From here on Slurm may know it.
  : >"$dir/intent"
  script=$dir/job.sh place=$dir log=$(printf '%s' "$dir/slurm.log" | sed 's/%/%%/g')
  eval "set -- $options"
  submit_job ${avoided:+"--exclude=$avoided"} "$@"
  [ -z "$avoided" ] || case $code.$(one_line <"$stage") in
  1.*'onfiguration is not available'* | 1.*'ode count specification invalid'*)
    # There are no others of the kind.
    rm -f "$dir/avoided"
    submit_job "$@"
    ;;
  esac
  judge_submission
  case $word in
  submitted) printf '%s\n' "$number" >"$dir/.job" && mv "$dir/.job" "$dir/job" ;;
  full | unsure) full=$why ;;
  esac
  say "$id" "$word" "$why"
  case $word in full | refused) forget_attempt "$id" "$was_there" ;; esac
}

# Submits attempts of one shape as arrays, as large as the cluster takes them. Argument: a file with lines "KEY ID WAS_THERE".
submit_array() {
  list=$1
  config=${config:-$(scontrol show config 2>"$stage")}
  [ -n "$config" ] || unavailable "$stage"
  most=$(setting SchedulerParameters | tr ',' '\n' | sed -n 's/^max_array_tasks=//p')
  size=$(setting MaxArraySize)
  case $size in '' | *[!0-9]*) size=1001 ;; esac
  case $most in '' | *[!0-9]*) ;; *) [ "$most" -ge "$size" ] || size=$most ;; esac
  while [ -s "$list" ]; do
    count=$(wc -l <"$list")
    [ "$size" -le "$count" ] || size=$count
    if [ "$size" -lt 2 ]; then
      # No arrays here, hardly any room, or only one is left.
      while read -r key id was_there; do
        dir=$workdir/attempts/$id
        if [ -n "$full" ]; then
          say "$id" full "$full"
          forget_attempt "$id" "$was_there"
        else
          read_settings "$id"
          submit_one
        fi
      done <"$list"
      return
    fi
    head -n "$size" "$list" >"$list.part"
    submit_elements "$list.part"
    if [ "$word" = full ]; then
      # Fewer may fit.
      size=$((size / 2))
      continue
    fi
    element=0
    while read -r key id was_there; do
      element=$((element + 1))
      case $word in
      unwritable)
        refuse_submission "$id" "$was_there"
        continue
        ;;
      submitted) printf '%s\n' "${number}_$((element - 1))" >"$workdir/attempts/$id/job" ;;
      refused) forget_attempt "$id" "$was_there" ;;
      esac
      say "$id" "$word" "$why"
    done <"$list.part"
    if [ "$word" = unsure ]; then full=$why size=1; fi
    sed "1,${element}d" "$list" >"$list.rest" && mv "$list.rest" "$list"
  done
}

# Submits the attempts of a file as the elements of one array. Sets word, why and number.
submit_elements() {
  part=$1
  cut -d ' ' -f 1 "$part" >"$part.keys"
  key=rollcall-array-$(sha256sum <"$part.keys" | cut -c 1-32)
  place=$workdir/arrays/$key word=unwritable fresh=
  [ -e "$place" ] || fresh=1
  # Whoever runs or looks finds all of it.
  { (umask 077 && mkdir -p "$place") && cp "$part.keys" "$place/.attempts.$$" && sync "$place/.attempts.$$" && mv "$place/.attempts.$$" "$place/attempts"; } 2>"$stage" || return
  # From here on Slurm may know them.
  for id in $(cut -d ' ' -f 2 "$part"); do
    { printf '%s\n' "$key" >"$workdir/attempts/$id/.intent" && mv "$workdir/attempts/$id/.intent" "$workdir/attempts/$id/intent"; } 2>"$stage" || return
  done
  read_settings "$id"
  script=$part.sh log=$(printf '%s' "$place" | sed 's/%/%%/g')/%a.log
  printf '%s\n' "#!/bin/sh" "exec sh '$quoted_self' - slurm-element $quoted_workdir $quoted_leases $key" >"$script"
  eval "set -- $options"
  submit_job --array="0-$(($(wc -l <"$part") - 1))${throttle:+%$throttle}" "$@"
  judge_submission
  case $word in full | refused) [ -z "$fresh" ] || rm -rf "$place" ;; esac
}

# Options of sbatch. Sets told and code.
submit_job() {
  # Where its table of jobs is full, sbatch sleeps and tries again for minutes; nobody else can submit meanwhile.
  told=$(timeout 20 sbatch --parsable --job-name="$key" --comment="$key" --nodes="$nodes" "$@" --no-requeue --open-mode=append \
    --output="$log" --error="$log" --chdir="$place" --export=ALL "$script" 2>"$stage" </dev/null 9<&-)
  code=$?
}

# What became of a submission: sets word, why, and number where it was taken. Ends where nobody knows.
judge_submission() {
  # Sites print what they like beside it; the error comes last.
  said=$({ grep '^sbatch: error' "$stage" || cat "$stage"; } | tr -s '\n\t\r' '   ' | tr -d '\000-\037' | tail -c 4096)
  number=${told%%;*} word=refused why=$(printf '%s' "$said" | tail -c 300)
  if [ "$code" -eq 0 ] && [ -n "$number" ]; then
    accepted=1 word=submitted why=$number
    return
  fi
  case $code.$said in
  *. | 1[3-9]?.*)
    # It was killed, or whoever says nothing has not refused it.
    echo "sbatch ended with $code and said: $why" >"$stage"
    unavailable "$stage"
    ;;
  124.*'emporarily unable to accept'*)
    # The last try of sbatch may have arrived after all.
    word=unsure why=MaxJobCount
    ;;
  124.* | *'Unable to contact'* | *'ocket timed out'* | *'onnection refused'* | *'rotocol authentication error'* | *'nexpected message'* | *'ransport endpoint'* | *'in standby mode'* | *'ommunication connection failure'* | *'ero Bytes were transmitted'*)
    # It may have arrived.
    unavailable "$stage"
    ;;
  *Submit*Limit* | *'esource temporarily unavailable'*)
    word=full why=$(printf '%s' "$said" | grep -oE '[A-Za-z]*Submit[A-Za-z]*Limit|Resource temporarily unavailable' | head -n 1)
    ;;
  *'artition not available'* | *'I/O error writing'*)
    # A partition under maintenance, a controller whose disk is full: they come back.
    word=full
    ;;
  *Limit*) why="sbatch says: $why" ;;
  *'job submit limit'*)
    # It does not tell which limit: where none of ours is there, none will ever make room.
    if grep -qE '\|(PENDING|RUNNING|COMPLETING|CONFIGURING|SUSPENDED)\|' "$stage_dir/jobs" || [ -n "$accepted" ]; then
      word=full
    else
      why="sbatch says: $why"
    fi
    ;;
  *) why="sbatch says: $why" ;;
  esac
}

# For sure nothing of it is in the queue; another attempt follows. Arguments: id, 1 where it was there before.
forget_attempt() { [ "$2" = 1 ] || rm -rf "${workdir:?}/attempts/$1"; }

# Sets avoided: the nodes that lost earlier attempts of the run, as long as enough others are up. Whoever began and left
# no record of its own was lost with its node.
find_avoided() {
  avoided=
  for try in $earlier; do
    try=$workdir/attempts/$try where=
    # Such a record was made for it, when it was stopped.
    [ ! -e "$try/exit.json" ] || grep -q '"reason":"superseded"' "$try/exit.json" || continue
    { read -r _ _ where _ <"$try/claim/job" || read -r where <"$try/failed-on"; } 2>/dev/null || continue
    case $where in '' | '?') ;; *) avoided=$avoided${avoided:+,}$where ;; esac
  done
  [ -n "$avoided" ] || return 0
  scontrol show hostnames "$avoided" >"$stage" 2>/dev/null
  partition=$(printf '%s' "$options" | sed -n "s/.*'--partition=\([^']*\)'.*/\1/p")
  kind=$(printf '%s' "$options" | sed -n "s/.*'--\(gpus-per-node=\|gres=gpu:\)\([^:']*\):[0-9]*'.*/\2/p")
  # Whoever names a partition is told of it, hidden or not.
  if [ -n "$partition" ]; then set -- --partition="$partition"; else set -- -a; fi
  others=$(sinfo -h "$@" -N -t idle,mixed,allocated,completing -o '%N %G' 2>/dev/null |
    awk -v kind="$kind" 'kind == "" || index($2, ":" kind ":") { print $1 }' | sort -u | grep -cvxF -f "$stage")
  [ "${others:-0}" -ge "$nodes" ] || avoided=
  [ -z "$avoided" ] || printf '%s\n' "$avoided" >"$dir/avoided"
}

# Says why the run directory could not be filled. Arguments as of forget_attempt.
refuse_submission() {
  why=$(one_line <"$stage")
  forget_attempt "$@"
  if head -c 65536 /dev/zero >"$workdir/.room" 2>/dev/null; then say "$1" refused "$why"; else say "$1" no-space "$workdir"; fi
  rm -f "$workdir/.room"
}

# How attempts stand, each named on a line of standard input. Of each: what its directory tells, then what Slurm does.
slurm_status() {
  : >"$stage.keys"
  : >"$stage.gangs"
  : >"$stage.arrays"
  : >"$stage.own"
  : >"$stage.doubles"
  : >"$stage.noted"
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
    if [ "$claim" != - ]; then
      say claim "$id" "$claim"
    elif [ -s "$dir/slurm.log" ]; then
      say said "$id" "$(tail -n 1 "$dir/slurm.log" | one_line)"
    fi
    [ "$cancel" = - ] || say cancel "$id" "$cancel"
    [ "$refusal" = - ] || say refusal "$id" "$refusal"
    [ -z "$record" ] || say exit "$id" "$record"
    [ ! -e "$dir/signalled" ] || say signalled "$id" yes
    [ ! -e "$dir/copying" ] || say copying "$id" yes
    uncopied=
    { IFS= read -r uncopied <"$dir/uncopied"; } 2>/dev/null
    [ -z "$uncopied" ] || say uncopied "$id" "$uncopied"
    avoided=
    { IFS= read -r avoided <"$dir/avoided"; } 2>/dev/null
    [ -z "$avoided" ] || say avoided "$id" "$avoided"
    key_of "$id" || continue
    printf '%s\n' "$key" >>"$stage.keys"
    printf '%s %s %s\n' "$key" "$job" "${claim%% *}" >>"$stage.own"
    [ ! -e "$dir/doubles" ] || sed "s/^/$key /" "$dir/doubles" >>"$stage.doubles"
    [ ! -s "$dir/held" ] || sed "s/\$/ $key/" "$dir/held" >>"$stage.noted"
    [ ! -d "$dir/nodes" ] || printf '%s\n' "$key" >>"$stage.gangs"
    array=
    { read -r array <"$dir/intent"; } 2>/dev/null
    [ -z "$array" ] || printf '%s %s\n' "$key" "$array" >>"$stage.arrays"
  done
  # Afterwards: a job that waits cannot have begun before, unless it was put back.
  queue "$stage" >"$stage.rows" || unavailable "$stage"
  find_doubles
  [ ! -s "$stage.late" ] || cancel_doubles
  [ ! -s "$stage.noted" ] || release_held
  without_doubles "$stage.rows" >"$stage.jobs"
  select_jobs "$stage.keys" "$stage.jobs" | while IFS= read -r line; do say queue "$line"; done
  # Before a job has to make room it may be told to, and what its ranks make of that is not their own end.
  if [ -s "$stage.gangs" ] && select_jobs "$stage.gangs" "$stage.jobs" | grep -qE '^[^|]*\|(FAILED|COMPLETED)\|'; then
    squeue -h -a --me -t failed,completed -r -O 'JobID:40,PreemptTime:40' >"$stage.queue2" 2>"$stage" || unavailable "$stage"
    awk -F '|' 'FILENAME == ARGV[1] { split($0, word, " "); if (word[2] ~ /^[0-9]/) told[word[1]]; next }
      $1 in told { sub(/\..*/, "", $NF); print $NF }' "$stage.queue2" "$stage.jobs" |
      while read -r id; do say preempted "$id" yes; done
  fi
  # What Slurm has forgotten, its accounting or its log of ended jobs may know.
  awk -F '|' 'FILENAME == ARGV[1] { known[$NF]; next } !($0 in known)' "$stage.jobs" "$stage.keys" >"$stage.lost"
  if [ -s "$stage.lost" ]; then
    awk 'FILENAME == ARGV[1] { lost[$0]; print; next } $1 in lost && !seen[$2]++ { print $2 }' \
      "$stage.lost" "$stage.arrays" >"$stage.names"
    # An element that is cancelled while it waits leaves nothing behind, but its array is there.
    awk -F '|' 'FILENAME == ARGV[1] { known[$NF]; next } FILENAME == ARGV[2] { lost[$0]; next }
      { split($0, word, " ") } word[2] in known && word[1] in lost { sub(/\..*/, "", word[1]); print word[1] }' \
      "$stage.queue" "$stage.lost" "$stage.arrays" >"$stage.left"
    account "$stage" "$stage.names" >"$stage.rows" || say accounting-failed "$(one_line <"$stage")"
    if [ -s "$stage.left" ]; then
      # So may one that ended before it began anything: whoever keeps those is asked, and for how long Slurm itself does.
      config=${config:-$(scontrol show config 2>"$stage")}
      shown=$(setting MinJobAge)
      while read -r id; do say left-out "$id" "${has_memory:-0} $shown"; done <"$stage.left"
    fi
    without_doubles "$stage.rows" >"$stage.jobs"
    select_jobs "$stage.lost" "$stage.jobs" | while IFS= read -r line; do say accounting "$line"; done
  fi
  say end
}

# Writes lines "NUMBER KEY" to stage.late: jobs that wait though another one is the attempt's, since Slurm took a
# submission late of which sbatch did not hear. That which has begun is the attempt's; while none has, the one that sbatch
# told of, as long as it is there. Elements of arrays bear the name of theirs, and are left alone.
find_doubles() {
  awk -F '|' '
    FILENAME == ARGV[1] {
      split($0, word, " ")
      begun[word[1]] = word[3] != "-"
      own[word[1]] = begun[word[1]] ? word[3] : word[2]
      next
    }
    !($NF in own) || own[$NF] !~ /^[0-9]+$/ { next }
    $1 == own[$NF] && $2 ~ /^(PENDING|CONFIGURING|RUNNING)$/ { stands[$NF] }
    $1 != own[$NF] && $2 == "PENDING" { late[$1] = $NF }
    END { for (number in late) if (begun[late[number]] || late[number] in stands) print number, late[number] }
  ' "$stage.own" "$stage.queue" >"$stage.late"
}

# Cancels the jobs of stage.late that are sure not to begin: those that still wait when they are held. Whatever fails is
# done at the next look.
cancel_doubles() {
  # Noted first: this look may end before it has released them.
  while read -r number key; do
    printf '%s\n' "$number" >>"$workdir/attempts/${key%%.*}/held" && printf '%s %s\n' "$number" "$key"
  done <"$stage.late" >"$stage.held" 2>/dev/null
  cat "$stage.held" >>"$stage.noted"
  cut -d ' ' -f 1 "$stage.held" | xargs -r -n 1 scontrol hold >/dev/null 2>&1
  queue "$stage" >"$stage.rows" || {
    cut -d ' ' -f 1 "$stage.held" | xargs -r -n 1 scontrol release >/dev/null 2>&1
    unavailable "$stage"
  }
  # The other one may have gone meanwhile: then this is the attempt's.
  find_doubles
  awk 'FILENAME == ARGV[1] { held[$1]; next } $1 in held' "$stage.held" "$stage.late" >"$stage.sure"
  while read -r number key; do
    printf '%s\n' "$number" >>"$workdir/attempts/${key%%.*}/doubles" || continue
    printf '%s %s\n' "$key" "$number" >>"$stage.doubles"
    scancel --quiet --user="$(id -un)" "$number"
  done <"$stage.sure" 2>/dev/null
}

# Releases the jobs of stage.noted that wait and are late no more, held by this look or by one that ended before it did so.
release_held() {
  sort -u "$stage.noted" | while read -r number key; do
    # It is cancelled, at the next look if not at this one.
    ! grep -q "^$number " "$stage.late" || continue
    if grep -q "^$number|PENDING|.*|$key\$" "$stage.queue"; then scontrol release "$number" </dev/null || continue; fi
    note=$workdir/attempts/${key%%.*}/held
    # None is left where that fails.
    grep -vx "$number" "$note" >"$note.new"
    mv "$note.new" "$note"
  done >/dev/null 2>&1
}

# Rows but those of what we have cancelled so: it says nothing of the attempt. Argument: a file of rows.
without_doubles() {
  awk -F '|' 'FILENAME == ARGV[1] { gone[$0]; next } !(($NF " " $1) in gone)' "$stage.doubles" "$1"
}

# The rows of the jobs with one of the names. Our names hold no |.
select_jobs() { awk -F '|' 'FILENAME == ARGV[1] { wanted[$0]; next } $NF in wanted' "$@"; }

# An exit record for what never began, or left none. Arguments: directory, reason.
end_record() {
  [ ! -e "$1/exit.json" ] || return 0
  [ -e "$1/stdout.log" ] || : >"$1/stdout.log"
  [ -e "$1/stderr.log" ] || : >"$1/stderr.log"
  now=$(date +%s)
  printf '{"code":143,"signal":15,"started":%s,"ended":%s,"reason":"%s"}\n' "$now" "$now" "$2" >"$1/.exit" &&
    sync "$1/.exit" 2>/dev/null && mv "$1/.exit" "$1/exit.json"
}

# Cancels the jobs of attempts, each named on a line of standard input with the reason. One line an attempt: stopped when
# nothing of it is in the queue, alive with its state, or no-space.
slurm_stop() {
  # A submission under way is waited for, so that none follows behind our back.
  lock_workdir || {
    say unavailable "the lock $workdir/.slurm.lock cannot be had"
    return
  }
  : >"$stage.keys"
  : >"$stage.stops"
  while read -r id reason; do
    dir=$workdir/attempts/$id
    # A job that has not begun finds this, and does nothing.
    { make_directory && { [ -e "$dir/exit.json" ] || [ -s "$dir/cancel" ] || printf '%s\n' "$reason" >"$dir/cancel"; } &&
      { [ -e "$dir/claim" ] || end_record "$dir" "$reason"; }; } 2>/dev/null || {
      say "$id" no-space "$workdir"
      continue
    }
    # Of one whose directory was gone, the name is left.
    key_of "$id" || for begun in "$workdir/begun/$id".*; do key=${begun##*/} token=${begun##*.}; done
    if [ -z "$token" ] || [ "$token" = '*' ]; then
      say "$id" stopped
      continue
    fi
    printf '%s\n' "$key" >>"$stage.keys"
    printf '%s %s %s\n' "$key" "$id" "$reason" >>"$stage.stops"
  done
  exec 9>&-
  began='' killed='' pause=1
  while [ -s "$stage.keys" ]; do
    asked=$(uptime_seconds)
    # A number is only that of a row with the name of the attempt, asked for just now.
    queue "$stage" %i >"$stage.jobs" || unavailable "$stage"
    # A state that is not known here is not the end.
    select_jobs "$stage.keys" "$stage.jobs" |
      grep -vE '^[^|]*\|(COMPLETED|FAILED|CANCELLED|TIMEOUT|DEADLINE|OUT_OF_MEMORY|NODE_FAIL|BOOT_FAIL|LAUNCH_FAILED|RECONFIG_FAIL|PREEMPTED|REVOKED)[ +|]' >"$stage.left"
    [ -s "$stage.left" ] || break
    now=$(uptime_seconds)
    # A controller that is slow is asked less often.
    [ "$((now - asked))" -lt 2 ] || [ "$pause" -ge 16 ] || pause=$((pause * 2))
    if [ -z "$began" ]; then
      cancel_jobs
      began=$now
    elif [ -z "$killed" ] && [ "$((now - began))" -ge 45 ]; then
      cancel_jobs --signal=KILL --full
      killed=1
    fi
    [ "$((now - began))" -lt 90 ] || break
    sleep "$pause"
  done
  while read -r key id reason; do
    left=$(awk -F '|' -v key="$key" '$NF == key { print $2 }' "$stage.left" | sort -u | tr '\n' ' ')
    if [ -n "$left" ]; then
      say "$id" alive "Slurm still shows its job as $left"
    else
      dir=$workdir/attempts/$id
      [ -e "$dir/claim" ] || awk -F '|' -v key="$key" '
        $NF == key && $2 ~ /^(FAILED|NODE_FAIL|BOOT_FAIL|LAUNCH_FAILED)$/ && $4 != "" { where = $4 }
        END { if (where != "") print where }' "$stage.jobs" >"$stage.where" && [ ! -s "$stage.where" ] ||
        cp "$stage.where" "$dir/failed-on" 2>/dev/null
      end_record "$dir" "$reason"
      say "$id" stopped
    fi
  done <"$stage.stops"
}

# Cancels the jobs of stage.left. Arguments: options of scancel.
cancel_jobs() {
  cut -d '|' -f 1 "$stage.left" | xargs -n 2000 scancel --quiet --user="$(id -un)" "$@" 2>"$stage" ||
    ! grep -qi 'unable to contact\|timed out\|refused\|standby' "$stage" || unavailable "$stage"
}

# What the cluster is and how full: for a person. Arguments: options of a small job.
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
  list partition sinfo -h -a -o '%R|%a|%l'
  list node sinfo -h -a -N -O 'PartitionName:|,NodeList:|,StateLong:|,Gres:|,GresUsed:|,CPUsState:'
  list reason sinfo -h -a -R -o '%N|%t|%E'
  # What sbatch would say of each run is told before there are any.
  timeout 20 sbatch --test-only --job-name=rollcall-check --output=/dev/null "$@" --wrap=true >/dev/null 2>"$stage" </dev/null ||
    say failed "sbatch --test-only, so each run would be refused: $(one_line <"$stage")"
  list own squeue -h -a --me -r -o '%T|%r'
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
slurm-element)
  workdir=$3 leases=$4
  key=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$workdir/arrays/$5/attempts") id=${key%%.*}
  wanted=$key
  { [ -n "$id" ] && key_of "$id" && [ "$key" = "$wanted" ]; } || exit 95
  ln -s "$workdir/arrays/$5/$SLURM_ARRAY_TASK_ID.log" "$workdir/attempts/$id/slurm.log" 2>/dev/null
  slurm_job "$workdir/attempts/$id"
  ;;
slurm-gang)
  slurm_gang "$3"
  exit
  ;;
slurm-node)
  slurm_node "$3"
  exit
  ;;
slurm-copy)
  slurm_copy "$3" "$4" "$5"
  exit
  ;;
slurm-*)
  nonce=$1 verb=$2 workdir=$3 leases=$4
  shift 5
  umask 022
  forget_settings
  temporary=$(mktemp -d) || {
    say unusable "no temporary directory can be made"
    exit
  }
  stage=$temporary/said
  : >"$stage"
  trap 'rm -rf "$temporary"' EXIT
  quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
  # Nodes see the same paths, but stand elsewhere.
  case $verb in slurm-submit) workdir=$(mkdir -p "$workdir" 2>/dev/null && cd "$workdir" && pwd -P) || workdir=$3 ;; esac
  quoted_workdir=$(quote "$workdir") quoted_leases=$(quote "$leases")
  quoted_attempts=$(printf '%s' "$workdir/attempts" | sed "s/'/'\\\\''/g")
  accepted=
  case $verb in
  slurm-enrol) slurm_enrol "${1-}" "${2-}" "${3-}" ;;
  slurm-submit) slurm_submit ;;
  slurm-status) slurm_status ;;
  slurm-stop) slurm_stop ;;
  slurm-check) slurm_check "$@" ;;
  *) say unknown "$verb" ;;
  esac
  exit
  ;;
esac
