import Foundation
import Glibc
import TestSupport
import Testing

/// One fault in the middle of a real sweep: nothing runs twice, every file is whole, and the report is that of a sweep
/// without the fault.
@Suite(.serialized, .timeLimit(.minutes(6))) struct FaultySweepTests {
  private static var gated: BookedSweep.Form {
    var form = BookedSweep.Form()
    form.work = BookedSweep.gate
    return form
  }

  private func finished(_ outcome: RollcallBinary.Outcome, _ sweep: BookedSweep) async throws -> [String: Any] {
    #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output.suffix(2000))")
    let report = try outcome.json()
    try await sweep.check(report)
    return report
  }

  @Test func sshdIsKilledAndComesBack() async throws {
    try await BookedSweep.with(Self.gated) { sweep in
      let told = sweep.scratch.path("told")
      let outcome = try await sweep.during("run", "job.yaml", "--json", told: told) { _ in
        try await sweep.begun(2)
        let before = sweep.scratch.text("told")?.count ?? 0
        for server in sweep.servers { server.stop() }
        // They end while nobody can ask.
        try sweep.openGate()
        try await sweep.until {
          let since = (sweep.scratch.text("told") ?? "").dropFirst(before)
          return sweep.servers.allSatisfy { since.contains("host \($0.alias): ") }
        }
        for server in sweep.servers { try await server.start() }
      }
      _ = try await finished(outcome, sweep)
      #expect(sweep.starts.count == 2)
    }
  }

  @Test func aChangedHostKeyBlocksItsHostAndLosesNothing() async throws {
    var form = Self.gated
    form.repetitions = 2
    try await BookedSweep.with(form) { sweep in
      let alpha = try sweep.server("alpha")
      let first = try await sweep.during("run", "job.yaml", "--json") { pid in
        try await sweep.begun(4)
        #expect(Set(sweep.starts.map { $0[2] }) == ["alpha", "beta"])
        try alpha.writeKnownHosts(key: "stranger_key")
        alpha.cutConnections()
        try sweep.openGate()
        // What runs elsewhere goes on; what the blocked host holds is neither failed nor started again.
        try await sweep.until { try await sweep.states().count { $0 == "succeeded" } == 2 }
        try await Task.sleep(for: .seconds(2))
        #expect(try await sweep.states().filter { $0 != "succeeded" } == ["running", "running"])
        #expect(kill(pid, SIGINT) == 0)
      }
      #expect(first.status == 130, "\(first.errorOutput)")
      // A person has looked into it.
      try alpha.writeKnownHosts(key: "host_key")
      _ = try await finished(try await sweep.rollcall("resume", "last", "--json"), sweep)
      #expect(sweep.starts.count == 4)
    }
  }

  @Test func whatASilentHostHadIsTriedElsewhereAfterATime() async throws {
    var form = Self.gated
    form.slots = 1
    form.fleetLines = "lost_after: 3s\n"
    try await BookedSweep.with(form) { sweep in
      let alpha = try sweep.server("alpha")
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        try await sweep.begun(2)
        #expect(Set(sweep.starts.map { $0[2] }) == ["alpha", "beta"])
        alpha.stop()
        try sweep.openGate()
        try await sweep.until { sweep.starts.count == 3 }
        #expect(sweep.starts.last?[2] == "beta")
      }
      try await alpha.start()
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      var report = try outcome.json()
      // What the undisturbed sweep has no reason to tell.
      let notes = try #require(report["notes"] as? [String])
      report["notes"] = notes.filter { !$0.hasPrefix("host alpha could not be used: ") }
      #expect(notes.contains { $0.hasPrefix("host alpha could not be used: ") })
      try await sweep.check(report)
      let attempts = try BookedSweep.runs(of: report).compactMap { $0["attempts"] as? [[String: Any]] }
      let lost = try #require(attempts.flatMap { $0 }.first { $0["state"] as? String == "lost" })
      #expect(
        lost["host"] as? String == "alpha" && (lost["why"] as? String)?.contains("was not heard of") == true, "\(lost)")
      #expect(sweep.starts.count == 3)
    }
  }

  @Test func cancelEndsASweepWhoseOnlyHostNeverComesBack() async throws {
    var form = Self.gated
    form.hosts = ["alpha"]
    form.fleetLines = "lost_after: 3s\n"
    try await BookedSweep.with(form) { sweep in
      let killed = try await sweep.during("run", "job.yaml") { pid in
        try await sweep.begun(2)
        #expect(kill(pid, SIGKILL) == 0)
      }
      #expect(killed.status != 0)
      try sweep.server("alpha").stop()
      let outcome = try await sweep.rollcall("cancel", "last")
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      #expect(try await sweep.states() == ["cancelled", "cancelled"])
      try sweep.openGate()
    }
  }

  @Test func aTransferThatIsCutGoesOnInsideTheFile() async throws {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    form.ballast = 96 << 20
    try await BookedSweep.with(form) { sweep in
      var sizes: [Int] = []
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        for _ in 0..<2 {
          let least = (sizes.last ?? 0) + (4 << 20)
          sizes.append(try await Self.partSize(sweep, above: least < form.ballast / 2 ? least : 4 << 20, of: form))
          try sweep.server("alpha").cutConnections()
        }
      }
      #expect(sizes.allSatisfy { $0 < form.ballast }, "the cuts must fall into the files: \(sizes)")
      _ = try await finished(outcome, sweep)
      #expect(sweep.starts.count == 2)
    }
  }

  /// Waits until a cut or running transfer has so many bytes of one file.
  private static func partSize(_ sweep: BookedSweep, above least: Int, of form: BookedSweep.Form) async throws -> Int {
    let folder = sweep.rollcall.store + "/incoming"
    while true {
      for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
        var facts = stat()
        if stat("\(folder)/\(name)", &facts) == 0, (least..<form.ballast).contains(Int(facts.st_size)) {
          return Int(facts.st_size)
        }
      }
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aHostWithoutRoomTakesTheNextRunOnceThereIsRoom() async throws {
    try await SmallDisk.with(megabytes: 8) { disk, scratch in
      var form = BookedSweep.Form()
      form.hosts = ["alpha"]
      form.slots = 1
      form.workdirs = ["alpha": disk + "/work"]
      // The first run leaves no room for a second one.
      form.last = "[ -e \(disk)/filler ] || cat /dev/zero > \(disk)/filler || true"
      try await BookedSweep.with(form, in: scratch) { sweep in
        let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
          try await sweep.until { try await sweep.told("no room") }
          #expect(sweep.starts.count == 1)
          try FileManager.default.removeItem(atPath: disk + "/filler")
          try FileManager.default.createDirectory(atPath: disk + "/filler", withIntermediateDirectories: false)
        }
        let report = try await finished(outcome, sweep)
        let attempts = try BookedSweep.runs(of: report).map { ($0["attempts"] as? [Any])?.count ?? 0 }
        #expect(attempts.sorted().first == 1)
        #expect(attempts.contains { $0 > 1 }, "the full disk must have cost an attempt")
      }
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aFullHostIsNoTrapForTheRunsThatTheOtherTakes() async throws {
    try await SmallDisk.with(megabytes: 8) { disk, scratch in
      var form = BookedSweep.Form()
      form.repetitions = 3
      form.slots = 1
      form.workdirs = ["alpha": disk + "/work"]
      // Whoever is first leaves no room there.
      form.last = "case $ROLLCALL_DUMP_DIR in \(disk)/*) cat /dev/zero > \(disk)/filler || true ;; esac"
      try await BookedSweep.with(form, in: scratch) { sweep in
        let report = try await finished(try await sweep.rollcall("run", "job.yaml", "--json"), sweep)
        let attempts = try BookedSweep.runs(of: report).compactMap { $0["attempts"] as? [[String: Any]] }.flatMap { $0 }
        let refused = attempts.filter { $0["state"] as? String != "succeeded" }
        #expect(refused.count <= 1, "\(refused)")
        #expect(attempts.count { $0["host"] as? String == "beta" } >= 5)
      }
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aCommandThatFailsOnAFullDiskIsTriedAgain() async throws {
    try await SmallDisk.with(megabytes: 8) { disk, scratch in
      var form = BookedSweep.Form()
      form.hosts = ["alpha"]
      form.slots = 1
      form.workdirs = ["alpha": disk + "/work"]
      let mark = scratch.path("was-full")
      form.last = "[ -e \(mark) ] || { : >\(mark); cat /dev/zero >\(disk)/filler; exit 1; }"
      try await BookedSweep.with(form, in: scratch) { sweep in
        let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
          try await sweep.until { try await sweep.told("exit code 1 and left no room") }
          try FileManager.default.removeItem(atPath: disk + "/filler")
        }
        let report = try await finished(outcome, sweep)
        let attempts = try BookedSweep.runs(of: report).map { ($0["attempts"] as? [Any])?.count ?? 0 }
        #expect(attempts.contains { $0 > 1 }, "the full disk must have cost an attempt")
      }
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aStoreWithoutRoomGoesOnOnceThereIsRoom() async throws {
    try await SmallDisk.with(megabytes: 400) { disk, scratch in
      var form = BookedSweep.Form()
      form.ballast = 20 << 20
      form.store = disk + "/store"
      try await BookedSweep.with(form, in: scratch) { sweep in
        // Less than what stays free and one file.
        try await runTool("fallocate", ["-l", "140M", disk + "/filler"])
        let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
          // Both end, and wait; nothing is lost.
          try await sweep.until { try await sweep.told("waits for room in the store") }
          try await sweep.until { try await sweep.states() == ["gathering", "gathering"] }
          try FileManager.default.removeItem(atPath: disk + "/filler")
        }
        #expect(outcome.errorOutput.contains("no room in the store"))
        #expect(outcome.errorOutput.contains("there is room in the store again"))
        _ = try await finished(outcome, sweep)
        #expect(sweep.starts.count == 2)
      }
    }
  }

  /// Not a byte is left, not even for a row of the database.
  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aDatabaseWithoutRoomLosesNothing() async throws {
    try await SmallDisk.with(megabytes: 400) { disk, scratch in
      var form = Self.gated
      form.store = disk + "/store"
      try await BookedSweep.with(form, in: scratch) { sweep in
        let told = scratch.path("told")
        let outcome = try await sweep.during("run", "job.yaml", "--json", told: told) { _ in
          try await sweep.begun(2)
          try await runTool("sh", ["-c", "cat /dev/zero > \(disk)/filler || true"])
          try sweep.openGate()
          try await sweep.until { scratch.text("told")?.contains("no room in the store") == true }
          try FileManager.default.removeItem(atPath: disk + "/filler")
        }
        #expect(scratch.text("told")?.contains("there is room in the store again") == true)
        _ = try await finished(outcome, sweep)
        #expect(sweep.starts.count == 2)
      }
    }
  }

  @Test func aRankThatStallsIsEndedAndToldAndTheOthersGoOn() async throws {
    var form = BookedSweep.Form()
    form.repetitions = 2
    form.limits = ["stall_timeout: 5s"]
    // Of two ranks one waits for ever for the other, which has gone.
    form.work =
      #"if [ "$ROLLCALL_WORLD_SIZE$ROLLCALL_REPEAT" = 21 ]; then (sleep 0.1; echo rank0) & sleep 300 & wait; fi"#
    try await BookedSweep.with(form) { sweep in
      let outcome = try await sweep.rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      let report = try outcome.json()
      for run in try BookedSweep.runs(of: report) {
        let name = try #require(run["id"] as? String)
        let isStalled = name == "world_size=2.r1"
        #expect(run["state"] as? String == (isStalled ? "stalled" : "succeeded"), "\(name)")
        // A run that stalls is what is looked for, and no reason to try again.
        #expect((run["attempts"] as? [Any])?.count == 1)
      }
      #expect(sweep.starts.count == 4)
      try await sweep.check(report, failed: "world_size=2.r1")
      #expect(report["verdict"] as? String != "pass")
      let notes = try #require(report["notes"] as? [String])
      #expect(notes.contains { $0.contains("world_size=2.r1") && $0.contains("no output") })
    }
  }

  /// A sweep on one host beyond a network that can be cut.
  private func beyondACut(
    _ form: BookedSweep.Form, _ body: (BookedSweep, CutNetwork, LoopbackSSHD) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try await CutNetwork.with { network in
        var form = form
        form.hosts = ["far"]
        let server = try await LoopbackSSHD(
          in: scratch, alias: "far", network: .init(address: network.address, command: network.command))
        defer { server.stop() }
        try await BookedSweep.with(form, servers: [server], in: scratch) { try await body($0, network, server) }
      }
    }
  }

  @Test(.enabled("needs a kernel that makes network namespaces (root)", CutNetwork.canBeMade))
  func aCutNetworkHeals() async throws {
    try await beyondACut(Self.gated) { sweep, network, _ in
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        try await sweep.begun(2)
        try await network.cut()
        try sweep.openGate()
        // A few packets are lost, and no more.
        try await Task.sleep(for: .seconds(1))
        #expect(try await sweep.states() == ["running", "running"])
        try await network.mend()
      }
      _ = try await finished(outcome, sweep)
      #expect(sweep.starts.count == 2)
    }
  }

  @Test(.enabled("needs a kernel that makes network namespaces (root)", CutNetwork.canBeMade))
  func aNetworkThatIsCutForLongerThanAnswersAreWaitedForHeals() async throws {
    var form = Self.gated
    form.fleetLines = "answer_within: 2s\n"
    try await beyondACut(form) { sweep, network, _ in
      let told = sweep.scratch.path("told")
      let outcome = try await sweep.during("run", "job.yaml", "--json", told: told) { _ in
        try await sweep.begun(2)
        let before = sweep.scratch.text("told")?.count ?? 0
        try await network.cut()
        try sweep.openGate()
        // Until an answer was waited for in vain, and the host counts as unreachable.
        try await sweep.until { (sweep.scratch.text("told") ?? "").dropFirst(before).contains("host far: ") }
        #expect(try await sweep.states() == ["running", "running"])
        try await network.mend()
      }
      _ = try await finished(outcome, sweep)
      #expect(sweep.starts.count == 2)
    }
  }

  /// Twice: once the connection lives on, once it is gone when the network is back.
  @Test(
    .enabled("needs a kernel that makes network namespaces (root)", CutNetwork.canBeMade), arguments: [false, true])
  func aNetworkThatIsCutDuringAGatherCostsNoByteTwice(connectionIsLost: Bool) async throws {
    var form = BookedSweep.Form()
    form.ballast = 64 << 20
    try await beyondACut(form) { sweep, network, server in
      try await network.limit(megabits: 200)
      var sizes: [Int] = []
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        sizes.append(try await Self.partSize(sweep, above: 24 << 20, of: form))
        try await network.cut()
        if connectionIsLost { server.cutConnections() }
        try await Task.sleep(for: .seconds(1))
        sizes.append(try await Self.partSize(sweep, above: 24 << 20, of: form))
        try await network.mend()
      }
      #expect(sizes.allSatisfy { (24 << 20..<form.ballast).contains($0) }, "the cut must fall into a file: \(sizes)")
      let received = try await network.received()
      try await network.limit(megabits: nil)
      _ = try await finished(outcome, sweep)
      #expect(sweep.starts.count == 2)
      // Three ranks' files, their packets' headers, and what was on its way; one that began anew would cost 24 MiB more.
      #expect(received > 3 * form.ballast && received < 3 * form.ballast + (20 << 20), "\(received >> 20) MiB came")
    }
  }
}
