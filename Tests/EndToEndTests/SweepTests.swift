import Foundation
import TestSupport
import Testing

/// The main job over real sshd processes with the real workload, as a person runs it.
@Suite(.serialized) struct SweepTests {
  private let jobs = RollcallBinary.repository + "/Jobs"

  /// Three sshd processes with their own host keys, a client configuration that knows them, and a fleet file.
  private func withHosts(
    knownHosts: Bool = true, _ body: (RollcallBinary, Scratch) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
      let keys = "env: {ROLLCALL_PYTHON: \(testPython), PATH: \"\(path)\"}"
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      try await LoopbackSSHD.withFleet(["alpha", "beta", "gamma"], in: scratch, keys: keys) { servers in
        for server in servers where !knownHosts { try server.writeKnownHosts(key: nil) }
        try await body(rollcall, scratch)
      }
    }
  }

  private func pairs(_ report: [String: Any]) throws -> [[String: Any]] {
    let pairs = try #require(report["pairs"] as? [[String: Any]])
    return pairs.compactMap { $0["comparison"] as? [String: Any] }
  }

  @Test(.timeLimit(.minutes(15))) func aCleanSweepOverThreeHostsPassesAndALostRankIsNamed() async throws {
    try await withHosts { rollcall, scratch in
      let outcome = try await rollcall("run", jobs + "/tp-sweep.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output.suffix(3000))")
      let report = try outcome.json()
      #expect(report["schema"] as? String == "rollcall.sweep/1")
      #expect(report["verdict"] as? String == "pass")
      let cells = try #require(report["cells"] as? [[String: Any]])
      #expect(cells.count == 12)
      // World sizes 2 and 8, two backends, both dump modes, two repetitions, each against world size 1.
      #expect(try pairs(report).count == 16)
      for pair in try pairs(report) {
        let coverage = try #require(pair["coverage"] as? [String: Any])
        #expect(coverage["compared"] as? Int == coverage["expected"] as? Int)
        #expect((coverage["compared"] as? Int ?? 0) > 0)
        #expect((coverage["unreadable"] as? [Any])?.isEmpty == true)
      }
      let hosts = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
        .flatMap { ($0["attempts"] as? [[String: Any]]) ?? [] }.compactMap { $0["host"] as? String }
      #expect(Set(hosts) == ["alpha", "beta", "gamma"], "runs must be spread over the hosts")

      let id = try #require(report["id"] as? String ?? report["sweep"] as? String)
      let html = try #require(scratch.text("store/sweeps/\(id)/report.html"))
      #expect(html.contains("<svg"))

      // A rank's files vanish from the store: never a PASS, and the rank is named.
      let sweep = scratch.path("store/sweeps/\(id)")
      let runs = try FileManager.default.contentsOfDirectory(atPath: sweep).sorted()
      let target = try #require(runs.first { $0.contains("world_size=8") && $0.contains("one_shot=false") })
      let reference = target.replacingOccurrences(of: "world_size=8", with: "world_size=1")
      let whole = try await rollcall("compare", "\(sweep)/\(reference)", "\(sweep)/\(target)", "--json")
      #expect(whole.status == 0, "\(whole.output.suffix(2000)) \(whole.errorOutput)")
      try FileManager.default.removeItem(atPath: "\(sweep)/\(target)/rank7")
      for arguments in [
        ["compare", "\(sweep)/\(reference)", "\(sweep)/\(target)", "--json"], ["report", id, "--again", "--json"],
      ] {
        let maimed = try await rollcall.run(arguments)
        #expect(maimed.status == 2, "\(arguments): \(maimed.errorOutput)")
        #expect(maimed.output.contains("rank 7") || maimed.output.contains("rank7"), "\(maimed.output.prefix(3000))")
        #expect(maimed.output.contains("incomplete-ranks"))
      }
    }
  }

  @Test(.timeLimit(.minutes(10))) func aPlantedBugFailsWithItsCauseLayerAndStage() async throws {
    try await withHosts { rollcall, _ in
      let outcome = try await rollcall("run", jobs + "/planted-bug.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let report = try outcome.json()
      #expect(report["verdict"] as? String == "fail")
      let first = try #require(report["first_axis_value"] as? [String: Any])
      #expect(first["axis"] as? String == "world_size")
      #expect("\(first["value"] ?? "")" == "2")
      for pair in try pairs(report) {
        let divergence = try #require(pair["first_divergence"] as? [String: Any])
        #expect(divergence["layer"] as? Int == 2)
        #expect(divergence["stage"] as? String == "MoE")
        let findings = try #require(pair["findings"] as? [[String: Any]])
        let finding = try #require(findings.first)
        #expect(finding["cause"] as? String == "double-reduce")
        #expect(finding["layer"] as? Int == 2)
        #expect(finding["stage"] as? String == "MoE")
      }
    }
  }

  @Test func anUnknownHostKeyIsRefused() async throws {
    try await withHosts(knownHosts: false) { rollcall, scratch in
      let outcome = try await rollcall("run", jobs + "/planted-bug.yaml")
      #expect(outcome.status == 69)
      #expect(outcome.errorOutput.contains("host key"))
      #expect(outcome.errorOutput.contains("SHA256:"))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("work-alpha")), "nothing may reach the host")

      // What it says mends it, for that host alone.
      let words = try #require(
        outcome.errorOutput.firstMatch(of: /hosts trust '(\w+)' --fingerprint (SHA256:[A-Za-z0-9+\/]+)/))
      let (name, fingerprint) = (String(words.1), String(words.2))
      func state() async throws -> Substring? {
        let rows = try await rollcall("hosts", "check").output.split(separator: "\n")
        return rows.first { $0.contains(name) }?.split(separator: " ").dropFirst().first
      }
      #expect(try await state() == "NO")
      let other = try await rollcall(
        "hosts", "trust", name, "--fingerprint", "SHA256:" + String(repeating: "A", count: 43))
      #expect(other.status == 69, "\(other.output)")
      let misspelt = try await rollcall("hosts", "trust", "nobody", "--fingerprint", fingerprint)
      #expect(misspelt.status == 64)
      #expect(try await state() == "NO")
      let trusted = try await rollcall("hosts", "trust", name, "--fingerprint", fingerprint)
      #expect(trusted.status == 0, "\(trusted.errorOutput)")
      #expect(trusted.output.contains(fingerprint))
      #expect(try await state() == "ok")
    }
  }

  @Test(.timeLimit(.minutes(5))) func batchInvarianceIsJudgedBitwise() async throws {
    try await withHosts { rollcall, _ in
      let outcome = try await rollcall("run", jobs + "/batch-invariance.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      let rows = try pairs(try outcome.json()).flatMap { ($0["rows"] as? [[String: Any]]) ?? [] }
      #expect(!rows.isEmpty)
      #expect(rows.allSatisfy { $0["byte_equal"] as? Double == 1 })
    }
  }
}
