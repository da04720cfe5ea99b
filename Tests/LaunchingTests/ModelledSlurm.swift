import Foundation
import TestSupport
import Transports

/// Slurm's commands as a few lines of shell over one file, which note how often they are called: what a launcher asks of
/// a cluster, without one.
struct ModelledSlurm: Sendable {
  private let scratch: Scratch

  /// `queue` has a line a job: number, array's number, task, state, name, nodes.
  init(_ scratch: Scratch) throws {
    self.scratch = scratch
    let prologue = """
      #!/bin/sh
      cd \(scratch.path)
      exec 8>>lock && flock 8
      echo "${0##*/} $*" >>calls
      touch queue

      """
    let programs = [
      "squeue": """
      # Its partition is a hidden one: jobs in it are shown to whoever asks for all.
      case " $* " in *" -a "*) ;; *) exit 0 ;; esac
      [ ! -e down ] || { rm down; echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }
      case " $* " in *' -O '*PreemptTime*) exec cat preempted ;; esac
      for word; do case $word in *%j*) format=$word ;; esac; done
      awk -F '|' -v format="$format" '{
        row = format
        gsub(/%A/, $1, row)
        gsub(/%i/, $3 == "" ? $1 : $2 "_" $3, row)
        gsub(/%T/, $4, row)
        gsub(/%r/, "None", row)
        gsub(/%N/, $6, row)
        gsub(/%K/, $3 == "" ? "N/A" : $3, row)
        gsub(/%j/, $5, row)
        print row
      }' queue
      """,
      "sbatch": """
      env >environment
      array=
      for word; do
        case $word in --job-name=*) name=${word#*=} ;; --array=0-*) array=${word#*=0-} array=${array%%%*} ;; esac
      done
      [ ! -e deadly-before ] || { rm deadly-before; . ./kill; }
      [ ! -e refusal ] || { cat refusal >&2; exit 1; }
      if [ -n "$array" ] && [ -e largest ] && [ "$array" -ge "$(cat largest)" ]; then
        echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
        exit 1
      fi
      first=$(($(wc -l <queue) + 1)) task=0
      while [ "$task" -le "${array:-0}" ]; do
        echo "$((first + task))|$first|${array:+$task}|PENDING|$name"
        task=$((task + 1))
      done >>queue
      [ ! -e deadly ] || { rm deadly; . ./kill; }
      echo "$first"
      """,
      "scancel": """
      for word; do
        case $word in [0-9]*) ;; *) continue ;; esac
        awk -F '|' -v OFS='|' -v word="$word" '
          word == $1 && $3 == "" || word == $2 "_" $3 { $4 = "CANCELLED" }
          { print }' queue >queue.new && mv queue.new queue
      done
      """,
      "scontrol": """
      [ "$2" != hostnames ] || echo "$3"
      if [ "$1" = hold ] && [ -e deaf ]; then mv deaf down; fi
      if [ "$1" = hold ] && [ -e deadly-hold ]; then
        rm deadly-hold
        kill -KILL "$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$PPID/status")"
        exit 1
      fi
      if [ "$1" = hold ] && [ -e quick ]; then
        rm quick
        awk -F '|' -v OFS='|' -v number="$2" '$1 == number { $4 = "RUNNING" } { print }' queue >queue.new && mv queue.new queue
      fi
      if [ "$1" = hold ] && [ -e gone ]; then
        grep -v "^$(cat gone)|" queue >queue.new
        mv queue.new queue
        rm gone
      fi
      [ "$2" != config ] || printf '%s = %s\\n' MaxArraySize "$(cat max_array_size 2>/dev/null || echo 1001)" ClusterName model MaxJobCount 10000
      """,
      "sinfo": "case \" $* \" in *' -N '*'%G'*) printf '%s\\n' 'n1 gpu:h200:2' 'n2 gpu:a100:2' 'n3 gpu:a100:2' ;; esac",
      "sacct": """
      [ ! -e accounting-down ] || { echo 'sacct: error: slurm_persist_conn_open_without_init' >&2; exit 1; }
      [ -e accounting ] && cat accounting || { echo 'Slurm accounting storage is disabled' >&2; exit 1; }
      """,
    ]
    try scratch.write("kill", SlurmCluster.endOfTheCaller)
    for (name, text) in programs { try scratch.write("commands/\(name)", prologue + text + "\n", permissions: 0o755) }
  }

  /// Where its commands are found first, as a login node would have them.
  var login: PrefixedTransport { PrefixedTransport(prefix: "export PATH=\(scratch.path("commands")):$PATH\n") }

  /// The calls of one command since the last question.
  func calls(_ command: String) -> [String] {
    (scratch.text("calls") ?? "").split(separator: "\n").map(String.init).filter { $0.hasPrefix(command + " ") }
  }

  /// What the controller is: `max_array_size`, `largest` (elements that it takes at once), `refusal` (what it says in
  /// place of taking a job), `deadly-before` and `deadly` (the next submission takes the caller with it), `accounting`
  /// (the rows that sacct has), `accounting-down`, `preempted` (numbers and times), `gone` (this job is gone when another is held), `quick` (a job begins before it is
  /// held), `deaf` (the queue is not told once after a job is held), `deadly-hold` (holding a job takes the caller with it).
  func set(_ name: String, _ text: String = "") throws { try scratch.write(name, text) }

  func forgetCalls() throws { try scratch.write("calls", "") }

  struct Job: Equatable {
    var number: String
    var task: String
    var state: String
    var name: String
  }

  var jobs: [Job] {
    (scratch.text("queue") ?? "").split(separator: "\n").map {
      let fields = $0.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      return Job(number: fields[0], task: fields[2], state: fields[3], name: fields[4])
    }
  }
}
