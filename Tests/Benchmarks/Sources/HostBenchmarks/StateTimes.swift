import Foundation
import Ledger
import Planning
import Scheduling

/// Durable state changes a second: `runs` runs go from queued to succeeded as the coordinator writes it, `together` of
/// them in each transaction, none waiting for anything else. A change is an attempt's row, its run's row and a line of
/// the diary. Prints one JSON line.
func state(store: String, runs count: Int, together: Int) throws {
  let ledger = try SweepLedger(store: store)
  let plan = Plan(name: "no-op", baseDirectory: "/", axes: [], cells: [])
  let runs = (0..<count).map { RunRecord(sweep: "s", name: "r\($0)", position: $0, cell: "c", repetition: 1) }
  try ledger.create(sweep: "s", plan: plan, fleet: Fleet(hosts: []), runs: runs, now: 0)
  var attempts = runs.map {
    AttemptRecord(
      id: "s-\($0.name)-try1", sweep: "s", run: $0.name, number: 1, host: "h", token: "t", gpus: 0, now: 1)
  }
  let steps: [(AttemptRecord.State, RunState)] = [
    (.launching, .launching), (.running, .running), (.exited, .gathering), (.gathered, .succeeded),
  ]
  var commits: [Duration] = []
  let clock = ContinuousClock()
  let before = processorSeconds()
  let whole = try clock.measure {
    for (attempt, run) in steps {
      for start in stride(from: 0, to: count, by: together) {
        var writes: [LedgerWrite] = []
        for index in start..<min(count, start + together) {
          attempts[index].state = attempt
          let record = attempts[index]
          writes.append(attempt == .launching ? .begin(record) : .attempt(record))
          writes.append(.run(sweep: "s", name: record.run, state: run, why: nil))
          writes.append(
            .event(EventRecord(at: 1, sweep: "s", run: record.run, attempt: record.id, kind: run.rawValue)))
        }
        commits.append(try clock.measure { try ledger.apply(writes) })
      }
    }
  }
  commits.sort()
  let done = try ledger.runs(of: "s").count { $0.state == .succeeded }
  let changes = steps.count * count
  print(
    """
    {"changes": \(changes), "together": \(together), "succeeded": \(done), "seconds": \(whole / .seconds(1)), \
    "changes_per_second": \(Int(Double(changes) / (whole / .seconds(1)))), "cpu": \(processorSeconds() - before), \
    "commit_median_ms": \(commits[commits.count / 2] / .milliseconds(1)), \
    "commit_p99_ms": \(commits[commits.count * 99 / 100] / .milliseconds(1))}
    """)
}

/// Of this process so far.
func processorSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  let whole = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
  return Double(whole) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6
}
