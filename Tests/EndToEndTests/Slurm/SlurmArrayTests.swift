import Foundation
import TestSupport
import Testing

/// Hundreds of runs of one shape on a cluster.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmArrayTests {
  private static let count = 160

  private func writeJob(_ scratch: Scratch, _ command: String, _ count: Int = Self.count) throws {
    try scratch.write(
      "job.yaml",
      """
      name: many
      matrix: {n: [\((1...count).map(String.init).joined(separator: ", "))]}
      run:
        command: |
          \(command)
        gpus: 0
        timeout: 20m
        retries: 0
      """)
  }

  private func book(_ scratch: Scratch) -> [Int] {
    (scratch.text("book") ?? "").split(separator: "\n").compactMap { Int($0) }.sorted()
  }

  /// The coordinator dies before the first array is submitted, and right after it was; arrays are small here; an element
  /// that waits is cancelled by somebody else.
  @Test(.timeLimit(.minutes(10))) func eachRunIsOneElementWhateverFails() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, minJobAge: 3600, maxArraySize: 50) { cluster in
        try writeJob(
          scratch,
          "echo ${{ n }} >>\(scratch.path)/book; until [ -e \(scratch.path)/go ]; do sleep 0.5; done; echo ${{ n }} done"
        )
        let rollcall = try cluster.rollcall(
          scratch, keys: ["array_throttle: 2"], commands: try SlurmCluster.deadlySubmission(scratch))
        let first = try await rollcall.start(["run", "job.yaml"], pidFile: scratch.path("pid"))
        #expect(first.status == 137, "the coordinator was to die between intent and submission: \(first.errorOutput)")
        let none = try await cluster.jobs()
        #expect(none.isEmpty, "\(none)")
        let second = try await rollcall.start(["resume", "last"], pidFile: scratch.path("pid"))
        #expect(second.status == 137, "the coordinator was to die after a submission: \(second.errorOutput)")
        let some = try await cluster.jobs()
        #expect(some.count == 50 && some.allSatisfy { $0.element != nil }, "\(some.count) jobs")

        async let third = rollcall.start(["resume", "last", "--json"], pidFile: scratch.path("pid"))
        let areThere = try await SlurmCluster.wait(seconds: 400) { try await cluster.jobs().count == Self.count }
        let jobs = try await cluster.jobs()
        #expect(areThere, "\(jobs.count) jobs")
        #expect(Dictionary(grouping: jobs, by: \.name).values.map(\.count).sorted() == [10, 50, 50, 50])
        let array = try #require(jobs.first)
        let described = try await cluster("scontrol", "show", "job", array.number)
        #expect(described.contains("ArrayTaskThrottle=2"), "\(described)")
        let began = try await SlurmCluster.wait { book(scratch).count == 8 }
        #expect(began, "two of each array: \(book(scratch))")
        let isTold = try await SlurmCluster.wait {
          try await rollcall("status", "last").output.contains("JobArrayTaskLimit")
        }
        #expect(isTold, "why an element waits")
        let victim = try #require(try await cluster.jobs().last { $0.state == "PENDING" && $0.name == array.name })
        let element = try #require(victim.element)
        let manifest = try #require(scratch.text("shared/arrays/\(array.name)/attempts")).split(separator: "\n")
        let place = try #require(manifest[element].firstRange(of: /-run(\d+)-/)).lowerBound
        let position = try #require(Int(manifest[element][place...].dropFirst(4).prefix { $0.isNumber }))
        let main = try #require(
          try await cluster("squeue", "-h", "-n", array.name, "-o", "%F").split(separator: "\n").first)
        try await cluster("scancel", "\(main)_\(element)")
        try scratch.write("go", "")

        let outcome = try await third
        let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
        let runs = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
        #expect(runs.count == Self.count)
        for run in runs {
          let id = run["id"] as? String ?? ""
          let expected = id == "n=\(position)" ? "cancelled" : "succeeded"
          #expect(run["state"] as? String == expected, "\(run)")
          #expect((run["attempts"] as? [[String: Any]])?.count == 1, "\(run)")
        }
        #expect(book(scratch) == (1...Self.count).filter { $0 != position }, "each ran once")
        let log = try await rollcall("logs", "n=7")
        #expect(log.output.contains("7 done"), "\(log.output)")
        let again = try await cluster.jobs()
        #expect(again.count == Self.count - 1, "\(again.count) elements; what was cancelled while it waited is gone")
      }
    }
  }

  /// Two hundred that wait are gone after a few calls, as elements of an array or each by itself.
  @Test(.timeLimit(.minutes(12)), arguments: [true, false]) func cancelTakesAFewCalls(arrays: Bool) async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        try writeJob(scratch, "echo ${{ n }} >>\(scratch.path)/book", 200)
        try scratch.write(
          "commands/scancel", "#!/bin/sh\necho >>\(scratch.path)/calls\nexec /usr/bin/scancel \"$@\"\n",
          permissions: 0o755)
        // Nothing begins; and it is not ours.
        let other = try await cluster(
          "sbatch", "--parsable", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"
        ).trimmingCharacters(in: .whitespacesAndNewlines)
        let rollcall = try cluster.rollcall(
          scratch, keys: ["arrays: \(arrays)"], commands: scratch.path("commands"))
        async let ended = rollcall.start(["run", "job.yaml", "--json"], pidFile: scratch.path("pid"))
        let areThere = try await SlurmCluster.wait(seconds: 400) { try await cluster.jobs().count == 201 }
        let jobs = try await cluster.jobs()
        #expect(areThere, "\(jobs.count) jobs")
        #expect(jobs.allSatisfy { $0.number == other || ($0.element != nil) == arrays })
        let cancel = try await rollcall("cancel", "last")
        #expect(cancel.status == 0, "\(cancel.errorOutput)")
        let outcome = try await ended
        let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
        let states = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }.compactMap { $0["state"] as? String }
        #expect(states.count == 200 && states.allSatisfy { $0 == "cancelled" }, "\(Set(states))")
        let calls = (scratch.text("calls") ?? "").split(separator: "\n", omittingEmptySubsequences: false).count - 1
        #expect((1...8).contains(calls), "\(calls) calls of scancel")
        let left = try await cluster.jobs().filter { $0.state != "CANCELLED" }
        #expect(left.map(\.number) == [other], "\(left)")
        #expect(book(scratch).isEmpty)
      }
    }
  }
}
