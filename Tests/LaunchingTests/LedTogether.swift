import Foundation
import Launching
import Testing

/// Starts plain runs at once, so that one process leads them.
func startTogether(_ runs: [AttemptSpec], _ launcher: DetachedLauncher) async throws {
  try await withThrowingTaskGroup(of: (String, LaunchOutcome).self) { group in
    for run in runs { group.addTask { (run.id, try await launcher.launch(run, files: [])) } }
    for try await (id, outcome) in group { #expect(outcome == .started, "\(id)") }
  }
}

/// The processes that a run has printed the numbers of.
func printedProcesses(_ id: String, _ host: TestHost) -> [Int32] {
  (host.text(id, "stdout.log") ?? "").split(separator: "\n").compactMap { Int32($0) }
}

/// Those of them that run. In the run's directory: numbers come round several times while these tests run, and another
/// process may have the number of one that has ended.
func runningProcesses(_ id: String, _ host: TestHost) -> [Int32] {
  printedProcesses(id, host).filter { pid in
    let place = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd")
    return isRunning(pid) && place?.contains("/attempts/\(id)") == true
  }
}

/// Whoever leads plain runs together gives each its own end, and leaves the run `other` going.
///
/// - Parameters:
///   - more: Further runs that are started with them.
///   - started: Called with all runs when they have started.
func expectEachEndsByItself(
  _ launcher: DetachedLauncher, _ host: TestHost, more: [AttemptSpec] = [], started: ([AttemptSpec]) throws -> Void
) async throws {
  let quick = (0..<6).map { spec("quick\($0)", "echo \($0); exit \($0)") }
  let others = [
    spec("left", "sleep 300 & echo $!; env -i sleep 300 & echo $!; setsid sleep 300 & echo $!; exit 5"),
    spec("late", "echo $$; exec sleep 300", timeout: 2), spec("stopped", "echo $$; sleep 300"),
    spec("other", "echo $$; exec sleep 300"), spec("last", "kill -SEGV $$"),
  ]
  let runs = quick + others + more
  try await startTogether(runs, launcher)
  try started(runs)
  for (number, run) in quick.enumerated() {
    let record = try await launcher.end(of: run.id)
    #expect(record.code == number)
    #expect(record.reason == nil)
    #expect(record.ended >= record.started)
    #expect(record.environment?["kernel"]?.hasPrefix("Linux ") == true)
    #expect(host.text(run.id, "stdout.log") == "\(number)\n")
  }
  let segmented = try await launcher.end(of: "last")
  #expect(segmented.signal == 11)
  let left = try await launcher.end(of: "left")
  #expect(left.code == 5)
  #expect(left.reason == nil)
  #expect(printedProcesses("left", host).count == 3)
  #expect(runningProcesses("left", host) == [])
  let late = try await launcher.end(of: "late")
  #expect(late.reason == "timeout")
  #expect(late.signal == 15)
  try await until { !printedProcesses("stopped", host).isEmpty && !printedProcesses("other", host).isEmpty }
  try await launcher.stop("stopped", reason: "cancelled")
  #expect(runningProcesses("stopped", host) == [])
  let stopped = try await launcher.end(of: "stopped")
  #expect(stopped.reason == "cancelled")
  #expect(stopped.signal == 15)
  guard case .running(let bytes) = try await launcher.status(of: "other") else {
    Issue.record("a run ended with its neighbours")
    return
  }
  #expect(bytes > 0)
  #expect(runningProcesses("other", host).count == 1)
}

/// Runs that fill the disk on which their records are to stand have them all the same.
func expectRecordsOnAFullDisk(_ disk: String, _ launcher: DetachedLauncher) async throws {
  let command = "while [ ! -e \(disk)/go ]; do sleep 0.05; done; cat /dev/zero > ../dumps/d; exit 9"
  let runs = (0..<6).map { spec("a\($0)", command) }
  try await startTogether(runs, launcher)
  #expect(FileManager.default.createFile(atPath: disk + "/go", contents: nil))
  for run in runs {
    let record = try await launcher.end(of: run.id)
    #expect(record.code == 9)
    #expect(record.reason == ExitRecord.noSpace)
  }
}
