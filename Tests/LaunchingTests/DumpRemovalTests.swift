import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Dumps of attempts that are over, on every kind of host: they go, and nothing else does.
@Suite(.timeLimit(.minutes(4)))
struct DumpRemovalTests {
  private func dump(_ host: TestHost, _ id: String) throws {
    try host.scratch.write("work dir/attempts/\(id)/dumps/rank 0/layer00.pt", String(repeating: "x", count: 5000))
    try host.scratch.write("work dir/attempts/\(id)/dumps/.hidden", "y")
  }

  private func dumps(_ host: TestHost, _ id: String) throws -> Set<String> {
    Set(try FileManager.default.contentsOfDirectory(atPath: "\(host.workdir)/attempts/\(id)/dumps"))
  }

  @Test(arguments: HostKind.allCases)
  func `what has ended loses its dumps and is still known to have run`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let book = host.scratch.path("book")
      for id in ["a1", "a2"] {
        let outcome = try await launcher.launch(spec(id, "echo ran >> '\(book)'; echo said"), files: [])
        #expect(outcome == .started)
        _ = try await launcher.end(of: id)
        try dump(host, id)
      }
      let asked = ["a1": "token-1", "a2": "token-1", "never": "token-1"]
      let look = try await launcher.removeDumps(of: asked, apply: false)
      guard case .freed(let bytes) = look["a1"] else {
        Issue.record("\(look)")
        return
      }
      #expect((5001...30_000).contains(bytes), "the files and what their directories take")
      #expect(look == ["a1": .freed(bytes), "a2": .freed(bytes), "never": .empty])
      #expect(try dumps(host, "a1") == ["rank 0", ".hidden"])

      #expect(try await launcher.removeDumps(of: ["a1": "token-1"], apply: true) == ["a1": .freed(bytes)])
      #expect(try dumps(host, "a1") == [])
      #expect(try dumps(host, "a2") == ["rank 0", ".hidden"])
      #expect(try await launcher.removeDumps(of: asked, apply: true)["a1"] == .empty)
      #expect(host.text("a1", "stdout.log") == "said\n")
      for name in ["exit.json", "token", "identity", "spec.json"] { #expect(host.text("a1", name) != nil, "\(name)") }
      let again = try await launcher.launch(spec("a1", "echo ran >> '\(book)'"), files: [])
      #expect(again == .adopted)
      #expect(host.scratch.text("book") == "ran\nran\n")
    }
  }

  /// A launch leaves its name, which keeps it from starting again where its run directory is gone.
  @Test(arguments: HostKind.allCases)
  func `the names of launches go where a run directory tells that they ended`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let book = host.scratch.path("book")
      func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: host.workdir + "/begun").sorted()
      }
      let specs = ["ended", "gone", "empty"].map { spec($0, "echo ran >> '\(book)'") }
      for spec in specs {
        _ = try await launcher.launch(spec, files: [])
        _ = try await launcher.end(of: spec.id)
      }
      try dump(host, "ended")
      _ = try await launcher.launch(spec("runs", "sleep 300"), files: [])
      try FileManager.default.removeItem(atPath: host.workdir + "/attempts/gone")
      let all = ["empty", "ended", "gone", "runs"].map { $0 + ".token-1" }
      #expect(try names() == all)
      let asked = Dictionary(uniqueKeysWithValues: (specs.map(\.id) + ["runs", "never"]).map { ($0, "token-1") })
      _ = try await launcher.removeDumps(of: asked, apply: false)
      _ = try await launcher.removeDumps(of: ["ended": "token-2"], apply: true)
      #expect(try names() == all)
      _ = try await launcher.removeDumps(of: asked, apply: true)
      #expect(try names() == ["gone.token-1", "runs.token-1"])
      for spec in specs { #expect(try await launcher.launch(spec, files: []) == .adopted, "\(spec.id)") }
      #expect(host.scratch.text("book")?.split(separator: "\n").count == 3)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `what runs, and what lives of a run whose supervisor was killed, keeps its dumps`(_ kind: HostKind) async throws
  {
    try await kind.with { host in
      let launcher = host.launcher()
      let go = host.scratch.path("go")
      _ = try await launcher.launch(spec("a1", "until [ -e '\(go)' ]; do sleep 0.1; done"), files: [])
      try await until { if case .running = try await launcher.status(of: "a1") { true } else { false } }
      try dump(host, "a1")
      let running = try await launcher.removeDumps(of: ["a1": "token-1"], apply: true)
      #expect(running == ["a1": .kept("it has not ended")])

      let identity = try host.identity("a1")
      // With its clock, which would end the command; where all runs have one supervisor, another process does so.
      let isAlone = kind != .supervised
      kill(isAlone ? -identity.pid : identity.pid, SIGKILL)
      try await until { !isRunning(identity.pid) }
      try await until { if case .lost = try await launcher.status(of: "a1") { true } else { false } }
      if isAlone {
        let survived = try await launcher.removeDumps(of: ["a1": "token-1"], apply: true)
        #expect(survived == ["a1": .kept("it has not ended")])
        #expect(try dumps(host, "a1") == ["rank 0", ".hidden"])
      }
      try host.scratch.write("go", "")
      try await launcher.stop("a1", reason: "superseded")
      try dump(host, "a1")
      let lost = try await launcher.removeDumps(of: ["a1": "token-1"], apply: true)
      guard case .freed = lost["a1"] else {
        Issue.record("\(lost)")
        return
      }
      #expect(try dumps(host, "a1") == [])
    }
  }

  @Test(arguments: HostKind.allCases)
  func `no link is followed, and no other's directory is touched`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      for id in ["linked", "within", "moved", "other", "torn"] {
        _ = try await launcher.launch(spec(id, "true"), files: [])
        _ = try await launcher.end(of: id)
        try dump(host, id)
      }
      let files = FileManager.default
      let attempts = host.workdir + "/attempts"
      try host.scratch.write("precious/file", "kept")
      func link(_ path: String, to target: String) throws {
        try files.createSymbolicLink(atPath: "\(attempts)/\(path)", withDestinationPath: target)
      }
      try files.removeItem(atPath: attempts + "/linked/dumps")
      try link("linked/dumps", to: host.scratch.path("precious"))
      try link("within/dumps/out", to: host.scratch.path("precious"))
      try files.moveItem(atPath: attempts + "/moved", toPath: host.scratch.path("moved"))
      try link("moved", to: host.scratch.path("moved"))
      // What a power cut leaves of a record, of a run whose host was rebooted.
      try host.scratch.write("work dir/attempts/torn/exit.json", "{\"code\":")
      try host.scratch.write("work dir/attempts/torn/identity", "another-boot 1 1\n")

      let asked = [
        "linked": "token-1", "within": "token-1", "moved": "token-1", "other": "token-2", "torn": "token-1",
      ]
      let found = try await launcher.removeDumps(of: asked, apply: true)
      #expect(found["linked"] == .kept("a link stands in place of its dumps"))
      #expect(found["moved"] == .kept("a link stands in place of its directory"))
      #expect(found["other"] == .kept("it is another launch's"))
      for id in ["within", "torn"] {
        if case .freed = found[id] {} else { Issue.record("\(id): \(String(describing: found[id]))") }
        #expect(try dumps(host, id) == [])
      }
      #expect(host.scratch.text("precious/file") == "kept")
      #expect(host.scratch.text("moved/dumps/.hidden") == "y")
      #expect(try dumps(host, "other") == ["rank 0", ".hidden"])

      // Names that lead elsewhere are refused here, and there.
      try host.scratch.write("work dir/dumps/file", "kept")
      try host.scratch.write("work dir/token", "token-1\n")
      try host.scratch.write("work dir/exit.json", "{}\n")
      await #expect(throws: LaunchError.self) { try await launcher.removeDumps(of: ["..": "token-1"], apply: true) }
      let script = try #require(try files.contentsOfDirectory(atPath: host.workdir + "/agent").first)
      let told = try await host.transport.run(
        "exec sh '\(host.workdir)/agent/\(script)' n prune '\(host.workdir)' '\(host.scratch.path)' 0 apply",
        input: Array(".. token-1\n../attempts/other token-1\n".utf8), limit: 1 << 20, timeout: .seconds(60))
      let words = "kept this is no name of an attempt"
      #expect(String(decoding: told.output, as: UTF8.self) == "@n .. \(words)\n@n ../attempts/other \(words)\n@n end\n")
      #expect(host.scratch.text("work dir/dumps/file") == "kept")
    }
  }
}
