import Foundation
import TestSupport
import Testing

/// Every error that a user meets in the first hour: one clear message, the right exit code, nothing half done.
@Suite struct FirstHourTests {
  /// A job on this machine whose command is `command`; `extra` is further YAML at the top level.
  private static func job(_ command: String, gpus: Int = 0, extra: String = "") -> String {
    """
    name: first-hour
    run:
      command: \(command)
      gpus: \(gpus)
      timeout: 60s
    dumps: {layout: atom}
    \(extra)
    """
  }

  private func with(
    job text: String, fleet: String? = nil, _ body: (RollcallBinary, String) async throws -> Void
  ) async throws {
    try await Scratch.with { place in
      let scratch = place.path
      let path = scratch + "/job.yaml"
      try text.write(toFile: path, atomically: true, encoding: .utf8)
      let fleetPath = scratch + "/fleet.yaml"
      let fleet = fleet ?? "hosts: [{name: here, local: true, workdir: \(scratch)/work, lease_dir: \(scratch)/leases}]"
      try fleet.write(toFile: fleetPath, atomically: true, encoding: .utf8)
      let rollcall = RollcallBinary(
        store: scratch + "/store", directory: scratch, environment: ["ROLLCALL_FLEET": fleetPath])
      try await body(rollcall, scratch)
    }
  }

  @Test func aTypoInAKeyIsNamedWithItsPlaceAndTheRightWord() async throws {
    try await with(job: "name: x\nrun:\n  comand: echo hi\n") { rollcall, scratch in
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("job.yaml:3:3"))
      #expect(outcome.errorOutput.contains("command"))
      #expect(!FileManager.default.fileExists(atPath: scratch + "/store/rollcall.db"), "nothing may be stored")
    }
  }

  @Test(arguments: ["", "relative"]) func theStoreLiesBelowHomeWhereNothingElseIsSaid(data: String) async throws {
    try await with(job: Self.job("'true'")) { rollcall, scratch in
      var plain = rollcall
      plain.environment.merge(["ROLLCALL_STORE": "", "XDG_DATA_HOME": data, "HOME": scratch + "/home"]) { $1 }
      let outcome = try await plain("run", "job.yaml")
      #expect(outcome.output.contains("\(scratch)/home/.local/share/rollcall/sweeps/first-hour-"))
      #expect(FileManager.default.fileExists(atPath: scratch + "/home/.local/share/rollcall/rollcall.db"))
    }
  }

  @Test func anEmptyStoreIsNotTheCurrentDirectory() async throws {
    try await with(job: Self.job("'true'")) { rollcall, scratch in
      for command in [["run", "job.yaml"], ["status"], ["history", "first-hour"]] {
        let outcome = try await rollcall.run(command + ["--store", ""])
        #expect(outcome.status == 64 && outcome.errorOutput.contains("--store needs"), "\(outcome.errorOutput)")
      }
      #expect(!FileManager.default.fileExists(atPath: scratch + "/rollcall.db"))
    }
  }

  @Test func anUnknownAxisIsNamed() async throws {
    let text = """
      name: x
      matrix: {world_size: [1, 2]}
      run: {command: "echo ${{ world_sise }}"}
      """
    try await with(job: text) { rollcall, _ in
      let outcome = try await rollcall("plan", "job.yaml")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("world_sise"))
      #expect(outcome.errorOutput.contains("world_size"))
    }
  }

  @Test func aMissingJobFileIsNamed() async throws {
    try await with(job: "") { rollcall, _ in
      let outcome = try await rollcall("run", "nowhere.yaml")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("nowhere.yaml"))
    }
  }

  @Test func aCommandThatIsNotOnTheHostFailsTheRun() async throws {
    try await with(job: Self.job("no-such-engine --serve")) { rollcall, _ in
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 3)
      let report = try outcome.json()
      #expect(report["verdict"] as? String == "inconclusive")
      let text = try await rollcall("report", "last")
      #expect(text.status == 3)
      #expect(text.output.contains("not found"))
    }
  }

  @Test func anExitCodeOfTheWorkloadIsReportedWithItsLastWords() async throws {
    try await with(job: Self.job("\"echo about to die >&2; exit 1\"")) { rollcall, _ in
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 3)
      #expect(outcome.output.contains("exit code 1"))
      #expect(outcome.output.contains("about to die"))
    }
  }

  @Test func noGPUIsSaidBeforeAnythingRuns() async throws {
    try await with(job: Self.job("touch ran", gpus: 4)) { rollcall, _ in
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 3)
      #expect(outcome.output.contains("4 GPUs"))
      #expect(outcome.output.contains("here"))
    }
  }

  @Test func aTimeLimitIsEnforcedAndSaid() async throws {
    let text = Self.job("sleep 100").replacingOccurrences(of: "timeout: 60s", with: "timeout: 2s")
    try await with(job: text) { rollcall, _ in
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 3)
      #expect(outcome.output.contains("timed-out"))
    }
  }

  @Test func aRunWithoutDumpsIsNeverAPass() async throws {
    try await with(job: Self.job("echo fine")) { rollcall, _ in
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 2)
      #expect(outcome.output.contains("INCONCLUSIVE"))
    }
  }

  @Test func aWrongDirectoryGivenToCompareIsNamed() async throws {
    try await with(job: "") { rollcall, scratch in
      let missing = try await rollcall("compare", scratch + "/a", scratch + "/b")
      #expect(missing.status == 65)
      #expect(missing.errorOutput.contains(scratch + "/a"))

      try FileManager.default.createDirectory(atPath: scratch + "/empty", withIntermediateDirectories: true)
      let empty = try await rollcall("compare", scratch + "/empty", scratch + "/empty", "--json")
      #expect(empty.status == 65)
      #expect(empty.errorOutput.contains("no dump file of a layout that Rollcall knows (ATOM, "))
      let error = try #require(try empty.json()["error"] as? [String: Any])
      #expect(error["message"] as? String != nil)
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade), .timeLimit(.minutes(3)))
  func aFullDiskOfTheStoreLosesNothing() async throws {
    try await SmallDisk.with(megabytes: 300) { disk, place in
      let scratch = place.path
      // More than the store's disk holds, less than the host's.
      let text = Self.job("\"head -c 60000000 /dev/urandom > $ROLLCALL_DUMP_DIR/layer00_Block_rank0.pt\"")
      try text.write(toFile: scratch + "/job.yaml", atomically: true, encoding: .utf8)
      let fleet = "hosts: [{name: here, local: true, workdir: \(scratch)/work, lease_dir: \(scratch)/leases}]"
      try fleet.write(toFile: scratch + "/fleet.yaml", atomically: true, encoding: .utf8)
      let rollcall = RollcallBinary(
        store: disk + "/store", directory: scratch, environment: ["ROLLCALL_FLEET": scratch + "/fleet.yaml"])
      async let ended = rollcall.start(["run", "job.yaml"], pidFile: scratch + "/pid")
      while try await !rollcall("status", "last").output.contains("waits for room in the store") {
        try await Task.sleep(for: .milliseconds(50))
      }
      let pid = try #require(Int32((place.text("pid") ?? "").trimmingCharacters(in: .newlines)))
      kill(pid, SIGINT)
      let outcome = try await ended
      #expect(outcome.status == 130)
      #expect(outcome.errorOutput.contains("no room in the store; nothing is lost"))
      let status = try await rollcall("status", "last")
      #expect(status.output.contains("gathering"), "the run's result must still be there to be fetched")
    }
  }

  @Test func anUnusableStoreIsNamed() async throws {
    try await with(job: Self.job("echo fine")) { rollcall, scratch in
      var rollcall = rollcall
      rollcall.store = "/proc/no-such-place"
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 69)
      #expect(outcome.errorOutput.contains("/proc/no-such-place"))
    }
  }

  @Test func wrongUsageIs64() async throws {
    try await with(job: "") { rollcall, _ in
      #expect(try await rollcall("rum").status == 64)
      #expect(try await rollcall("run").status == 64)
      #expect(try await rollcall("slots", ".", "--slots", "1").status == 64)
      let status = try await rollcall("status", "last")
      #expect(status.status == 64)
      #expect(status.errorOutput.contains("rollcall run"))
    }
  }
}
