import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Gangs over several hosts: what their processes read, and that all shares begin or none does.
@Suite(.timeLimit(.minutes(4)))
struct GangTests {
  static func facts(boot: String, node: String) -> HostFacts {
    HostFacts(
      bootID: boot, home: "/root", workdir: "/w", cpuCount: 2, gpuNames: [], gpuIDs: [], gpuDriver: nil,
      freeDiskBytes: 1 << 40, clockOffset: 0, versions: [:], nodeName: node)
  }

  @Test func `the environment is what torchrun and torch.distributed read`() throws {
    let hosts = [Self.facts(boot: "b1", node: "gpu1"), Self.facts(boot: "b2", node: "gpu2")]
    let shares = GangShare.all(attempt: "s-run1-try1", hosts: hosts, gpusPerNode: 8)
    #expect(shares.map(\.nodeRank) == [0, 1])
    #expect(Set(shares.map(\.masterAddress)) == ["gpu1"])
    #expect(Set(shares.map(\.masterPort)).count == 1)
    #expect((20_000..<32_000).contains(shares[0].masterPort))
    let names = Dictionary(uniqueKeysWithValues: shares[1].environment.map { ($0.name, $0.value) })
    #expect(names["MASTER_ADDR"] == "gpu1")
    #expect(names["NODE_RANK"] == "1")
    #expect(names["NNODES"] == "2")
    #expect(names["WORLD_SIZE"] == "16")
    #expect(names["PET_NPROC_PER_NODE"] == "8")
    #expect(names["PET_MASTER_PORT"] == names["MASTER_PORT"])
    // One machine twice, and an address that the fleet file gives.
    let twice = GangShare.all(attempt: "a", hosts: [hosts[0], hosts[0]], gpusPerNode: 0)
    #expect(twice[0].masterAddress == "127.0.0.1")
    let declared = GangShare.all(attempt: "a", hosts: hosts, gpusPerNode: 1, masterAddress: "10.0.0.7")
    #expect(declared[1].masterAddress == "10.0.0.7")
    let retry = GangShare.all(attempt: "s-run1-try2", hosts: hosts, gpusPerNode: 8)
    #expect(retry[0].masterPort != shares[0].masterPort)
  }

  // MARK: - The cause

  private static func record(_ code: Int, at: Double, signal: Int? = nil, reason: String? = nil) -> ExitRecord {
    ExitRecord(code: code, signal: signal, started: 0, ended: at, reason: reason)
  }

  @Test func `the share that failed by itself first is the cause, not its victims`() {
    let victim = Self.record(143, at: 50, signal: 15)
    let stopped = Self.record(143, at: 30, signal: 15, reason: "gang")
    #expect(GangCause.first(of: [(Self.record(0, at: 5), 0), (Self.record(0, at: 6, reason: "contended"), 0)]) == nil)
    // Its clock is 100 s ahead: it ended at 60 of ours, after its victim.
    #expect(GangCause.first(of: [(victim, 0), (Self.record(3, at: 160), 100), (stopped, 0)]) == 1)
    #expect(GangCause.first(of: [(Self.record(4, at: 70), 0), (Self.record(3, at: 160), 100)]) == 1)
    #expect(GangCause.first(of: [(stopped, 0), (victim, 0)]) == 1)
    #expect(GangCause.first(of: [(stopped, 0), (Self.record(143, at: 29, signal: 15, reason: "gang"), 0)]) == 1)
    #expect(GangCause.first(of: [(stopped, 0), (Self.record(143, at: 90, signal: 15, reason: "timeout"), 0)]) == 1)
  }

  // MARK: - Real hosts

  @Test(arguments: HostKind.allCases)
  func `a held share has its GPU and does not begin before it is released`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      var share = spec("a1", "echo \"begun $ROLLCALL_GPUS\"", gpus: 1)
      share.holdSeconds = 100
      let outcome = try await launcher.launch(share, files: [])
      #expect(outcome == .started)
      guard case .gpuBusy = try await launcher.launch(spec("a2", "true", gpus: 1), files: []) else {
        Issue.record("the GPU of a claimed share was given away")
        return
      }
      let held = try await launcher.status(of: "a1")
      #expect(held == .running(outputBytes: 0))
      try await launcher.release("a1")
      try await launcher.release("a1")
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 0)
      #expect(host.text("a1", "stdout.log") == "begun 0\n")

      // Stopped in place of released: it never begins, and its GPU is free.
      share.id = "b1"
      let second = try await launcher.launch(share, files: [])
      #expect(second == .started)
      try await launcher.stop("b1", reason: "gang")
      let stopped = try await launcher.end(of: "b1")
      #expect(stopped.reason == "gang")
      #expect(host.text("b1", "stdout.log") == "")
      await #expect(throws: LaunchError.self) { try await launcher.release("b1") }

      // Forgotten: it lets go by itself.
      share.id = "c1"
      share.holdSeconds = 1
      let third = try await launcher.launch(share, files: [])
      #expect(third == .started)
      let forgotten = try await launcher.end(of: "c1")
      #expect(forgotten.reason == "not-released")
      let fourth = try await launcher.launch(spec("d1", "true", gpus: 1), files: [])
      #expect(fourth == .started)
      _ = try await launcher.end(of: "d1")
    }
  }

  @Test func `a held share whose launcher is gone lets go, one that is asked about does not`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher(gpus: 2)
      _ = try await launcher.enrol()
      // A minute is long for a test; on a busy machine, one question may take seconds.
      try host.patchScript([("\npatience=60\n", "\npatience=30\n")])
      for id in ["forgotten", "wanted"] {
        var share = spec(id, "echo begun", gpus: 1)
        share.holdSeconds = 100
        let outcome = try await launcher.launch(share, files: [])
        #expect(outcome == .started)
      }
      try await until {
        let state = try await launcher.status(of: "wanted")
        #expect(state == .running(outputBytes: 0))
        return host.text("forgotten", "exit.json") != nil
      }
      let record = try await launcher.end(of: "forgotten")
      #expect(record.reason == "not-released")
      try await launcher.release("wanted")
      let end = try await launcher.end(of: "wanted")
      #expect(end.code == 0)
    }
  }

  /// Each question leaves its time in a file that the share reads meanwhile.
  @Test func `a held share that is asked about all the time is not taken for a forgotten one`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher(gpus: 1)
      var share = spec("a1", "echo begun", gpus: 1)
      share.holdSeconds = 1000
      let outcome = try await launcher.launch(share, files: [])
      #expect(outcome == .started)
      let note = "\(host.workdir)/attempts/a1/held"
      try await runTool(
        "sh",
        [
          "-c",
          """
          i=0
          while [ $i -lt 50000 ]; do
            if [ $((i % 500)) -eq 0 ]; then
              read -r now _ </proc/uptime
              now=${now%.*}${now#*.}
            fi
            echo $now >"$1"
            i=$((i + 1))
          done
          """, "sh", note,
        ])
      try await launcher.release("a1")
      let end = try await launcher.end(of: "a1")
      #expect(end.code == 0)
    }
  }

  /// An exclusive run has the host alone; runs on GPUs share it.
  @Test func `an exclusive run waits for all others, and they for it`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher(gpus: 2)
      var alone = spec("alone", "sleep 300")
      alone.isExclusive = true
      let first = try await launcher.launch(spec("a1", "sleep 300", gpus: 1), files: [])
      let beside = try await launcher.launch(spec("a2", "sleep 300", gpus: 1), files: [])
      #expect([first, beside] == [.started, .started])
      guard case .gpuBusy(let why) = try await launcher.launch(alone, files: []) else {
        Issue.record("an exclusive run began beside others")
        return
      }
      #expect(why.contains("itself"))
      for id in ["a1", "a2"] { try await launcher.stop(id, reason: "cancelled") }
      let then = try await launcher.launch(alone, files: [])
      #expect(then == .started)
      guard case .gpuBusy = try await launcher.launch(spec("a3", "true", gpus: 1), files: []) else {
        Issue.record("a run began beside an exclusive one")
        return
      }
      try await launcher.stop("alone", reason: "cancelled")
      let last = try await launcher.launch(spec("a4", "true", gpus: 1), files: [])
      #expect(last == .started)
      _ = try await launcher.end(of: "a4")
    }
  }
}
