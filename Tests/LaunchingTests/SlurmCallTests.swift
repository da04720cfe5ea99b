import Foundation
import Launching
import TestSupport
import Testing

/// How often a cluster is asked for something, however many attempts there are.
@Suite struct SlurmCallTests {
  private func launcher(_ slurm: ModelledSlurm, _ scratch: Scratch, arrays: Bool = true) -> SlurmLauncher {
    SlurmLauncher(
      transport: slurm.login, workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(usesArrays: arrays, arrayThrottle: 7), name: "model")
  }

  /// What became of each, in any order.
  private func launch(_ launcher: SlurmLauncher, _ specs: [AttemptSpec]) async throws -> [LaunchOutcome] {
    try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
      for spec in specs { group.addTask { try await launcher.launch(spec, files: []) } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
  }

  /// The attempts of all rows of the queue, by what stands in the manifests of arrays.
  private func attempts(_ slurm: ModelledSlurm, _ scratch: Scratch) throws -> [String] {
    try slurm.jobs.map { job in
      guard let element = Int(job.task) else { return job.name }
      let lines = scratch.text("shared/arrays/\(job.name)/attempts")?.split(separator: "\n") ?? []
      return String(try #require(lines.indices.contains(element) ? lines[element] : nil))
    }
  }

  private func specs(_ numbers: some Sequence<Int>) -> [AttemptSpec] {
    numbers.map { number in
      AttemptSpec(
        id: "a\(number)", token: "t", sweep: "s", run: "r\(number)", number: 1, command: "true", environment: [],
        gpuCount: 1, timeout: 60, stallTimeout: nil)
    }
  }

  @Test(.timeLimit(.minutes(5))) func twoHundredStopsAreAFewCalls() async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      let launcher = launcher(slurm, scratch, arrays: false)
      let specs = specs(1...200)
      let outcomes = try await launch(launcher, specs)
      #expect(outcomes.allSatisfy { $0 == .submitted })
      #expect(slurm.calls("sbatch").count == 200, "one job an attempt")
      // Slurm has lost one that it had acknowledged, and given its number to a job that is none of ours.
      let reused = try #require(slurm.jobs.first { $0.name == "a7.t" }).number
      let queue = (scratch.text("queue") ?? "").replacingOccurrences(of: "|a7.t\n", with: "|mine\n")
      try scratch.write("queue", queue)
      try slurm.forgetCalls()

      try await withThrowingTaskGroup(of: Void.self) { group in
        for spec in specs { group.addTask { try await launcher.stop(spec.id, reason: "cancelled") } }
        try await group.waitForAll()
      }
      #expect((1...8).contains(slurm.calls("scancel").count), "\(slurm.calls("scancel").count) calls for 200 jobs")
      #expect(slurm.calls("squeue").count <= 16, "\(slurm.calls("squeue").count) looks at the queue")
      for job in slurm.jobs {
        #expect((job.state == "PENDING") == (job.number == reused), "a number alone says nothing: \(job)")
      }
      for spec in specs {
        #expect(scratch.text("shared/attempts/\(spec.id)/exit.json")?.contains("\"cancelled\"") == true)
      }
    }
  }

  @Test(.timeLimit(.minutes(5)), arguments: ["{\"code\":0}", "{\"code\":0,\"started\":1e300,\"ended\":1}"])
  func aRunDirectoryThatCannotBeReadIsThatAttemptsOwnTrouble(_ text: String) async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      let launcher = launcher(slurm, scratch)
      _ = try await launch(launcher, specs(1...4))
      let record = "{\"code\":0,\"signal\":null,\"started\":5,\"ended\":9,\"reason\":null}"
      try scratch.write("shared/attempts/a1/exit.json", text + "\n")
      try scratch.write("shared/attempts/a2/exit.json", record + "\n")
      try scratch.write("shared/attempts/a3/claim/job", "\n")
      try scratch.write("shared/attempts/a4/exit.json", text + "\n")
      let states = ["a1": "COMPLETED", "a2": "COMPLETED", "a3": "RUNNING", "a4": "RUNNING"]
      let queue = slurm.jobs.map {
        "\($0.number)|\($0.number)||\(states[String($0.name.dropLast(2))] ?? "")|\($0.name)\n"
      }
      try scratch.write("queue", queue.joined())
      let found = try await launcher.status(of: Array(states.keys))
      guard case .lost(let why) = found["a1"], case .exited(let end) = found["a2"] else {
        Issue.record("\(found)")
        return
      }
      #expect(why.contains("exit record"))
      #expect(end.code == 0)
      #expect(found["a3"] == .running(outputBytes: 0))
      #expect(found["a4"] == .running(outputBytes: 0), "Slurm says that it has not ended")
    }
  }

  @Test(.timeLimit(.minutes(5)), arguments: [1001, 40]) func hundredsOfOneShapeGoAsArrays(_ largest: Int) async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      try slurm.set("max_array_size", "\(largest)")
      let launcher = launcher(slurm, scratch)
      var specs = specs(1...300)
      // Of another shape, and another try of a run.
      specs[3].gpuCount = 2
      specs[4].earlier = ["gone"]
      let outcomes = try await launch(launcher, specs)
      #expect(outcomes.allSatisfy { $0 == .submitted })
      let calls = slurm.calls("sbatch")
      let arrays = calls.filter { $0.contains(" --array=0-") }
      #expect(!arrays.isEmpty && arrays.allSatisfy { $0.contains("%7 ") }, "\(calls.first ?? "")")
      // Those that came a moment before the others may go by themselves.
      #expect(calls.count < 150, "\(calls.count) submissions of 300 attempts")
      #expect(Dictionary(grouping: slurm.jobs, by: \.name).values.allSatisfy { $0.count <= largest })
      let names = try attempts(slurm, scratch)
      #expect(names.sorted() == specs.map { "\($0.id).t" }.sorted(), "each is one element, or one job")
      for name in ["a4.t", "a5.t"] { #expect(slurm.jobs.contains { $0.name == name && $0.task.isEmpty }, "\(name)") }
      let states = try await launcher.status(of: specs.map(\.id))
      for spec in specs {
        guard case .waiting = states[spec.id] else {
          Issue.record("\(spec.id): \(states[spec.id].map { "\($0)" } ?? "not known")")
          continue
        }
      }

      // Asked for again, and stopped: by another coordinator, which knows nothing of what was submitted.
      try slurm.forgetCalls()
      let other = self.launcher(slurm, scratch)
      let again = try await launch(other, specs)
      #expect(again.allSatisfy { $0 == .submitted })
      #expect(slurm.calls("sbatch").isEmpty)
      try await other.stop("a9", reason: "cancelled")
      let cancelled = try zip(slurm.jobs, attempts(slurm, scratch)).filter { $0.0.state == "CANCELLED" }.map(\.1)
      #expect(cancelled == ["a9.t"])
    }
  }

  /// A submission that takes the caller with it, before it arrives or after.
  @Test(.timeLimit(.minutes(5)), arguments: ["deadly-before", "deadly"])
  func nothingGoesTwiceWhereTheCallerDies(_ moment: String) async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      try slurm.set(moment)
      let specs = specs(1...300)
      await #expect(throws: LaunchError.self) { _ = try await launch(launcher(slurm, scratch), specs) }
      #expect(slurm.jobs.isEmpty == (moment == "deadly-before"))
      let outcomes = try await launch(launcher(slurm, scratch), specs)
      #expect(outcomes.allSatisfy { $0 == .submitted })
      let names = try attempts(slurm, scratch)
      #expect(names.sorted() == specs.map { "\($0.id).t" }.sorted())
    }
  }

  /// The cluster takes fewer at once than there are, or none.
  @Test(.timeLimit(.minutes(5))) func aLimitMakesArraysSmaller() async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      try slurm.set("largest", "60")
      let specs = specs(1...300)
      let outcomes = try await launch(launcher(slurm, scratch), specs)
      #expect(outcomes.allSatisfy { $0 == .submitted })
      let arrays = Dictionary(grouping: slurm.jobs, by: \.name).values.map(\.count)
      #expect(arrays.contains { $0 > 1 } && arrays.allSatisfy { $0 <= 60 }, "\(arrays)")
      let names = try attempts(slurm, scratch)
      #expect(names.sorted() == specs.map { "\($0.id).t" }.sorted())

      try slurm.set("refusal", "sbatch: error: AssocMaxSubmitJobLimit\n")
      try slurm.forgetCalls()
      let later = self.specs(301...600)
      let refused = try await launch(launcher(slurm, scratch), later)
      let limit = LaunchOutcome.full(
        "the cluster takes no more jobs now: AssocMaxSubmitJobLimit", mayHaveArrived: false)
      #expect(refused.allSatisfy { $0 == limit }, "\(refused.first { $0 != limit }.map { "\($0)" } ?? "")")
      #expect(slurm.calls("sbatch").count < 30, "\(slurm.calls("sbatch").count) tries for 300 attempts")
      for spec in later { #expect(scratch.text("shared/attempts/\(spec.id)/token") == nil, "nothing of it is left") }
      let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path("shared/arrays"))
      #expect(Set(left) == Set(slurm.jobs.filter { !$0.task.isEmpty }.map(\.name)), "no manifest of what was refused")
    }
  }

  @Test(.timeLimit(.minutes(5))) func whatNoNodeCanTakeIsAskedForOnce() async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      try slurm.set("refusal", "sbatch: error: Requested node configuration is not available\n")
      let outcomes = try await launch(launcher(slurm, scratch), specs(1...1))
      guard case .refused = outcomes.first else {
        Issue.record("\(outcomes)")
        return
      }
      #expect(slurm.calls("sbatch").count == 1, "\(slurm.calls("sbatch"))")
    }
  }

  /// The file system is everybody's.
  @Test(.timeLimit(.minutes(5))) func runDirectoriesAreTheirOwnersAlone() async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      let launcher = launcher(slurm, scratch)
      // Stopped before it is launched, alone, and as elements of arrays.
      try await launcher.stop("early", reason: "cancelled")
      _ = try await launch(launcher, specs(1...1))
      _ = try await launch(launcher, specs(2...200))
      let arrays = try FileManager.default.contentsOfDirectory(atPath: scratch.path("shared/arrays"))
      #expect(!arrays.isEmpty)
      let folders = ["early", "a1"] + (2...200).map { "a\($0)" }
      let open = try (folders.map { "attempts/" + $0 } + arrays.map { "arrays/" + $0 }).filter {
        let facts = try FileManager.default.attributesOfItem(atPath: scratch.path("shared/" + $0))
        return facts[.posixPermissions] as? Int != 0o700
      }
      #expect(open == [])
    }
  }
}
