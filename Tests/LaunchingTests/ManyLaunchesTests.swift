import Foundation
import Launching
import Synchronization
import TestSupport
import Testing
import Transports

/// Launches that are asked for together go to the host together.
@Suite(.timeLimit(.minutes(4)))
struct ManyLaunchesTests {
  @Test(arguments: HostKind.allCases)
  func `a burst of launches takes few commands and starts each once`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let counting = CountedTransport(host.transport)
      let launcher = host.launcher(gpus: 2, transport: counting)
      _ = try await launcher.enrol()
      // One that is another launch's, one that its launch left half made, one that was stopped before it came.
      try host.scratch.write("work dir/attempts/taken/token", "other\n")
      try host.scratch.write("work dir/attempts/half/token", "token-1\n")
      try host.scratch.write("work dir/attempts/half/files/old", "half")
      let ids = (0..<40).map { "a\($0)" }
      let files = [
        ShippedFile(name: "it's $(b).sh", contents: Array("#!/bin/sh\ncat 'a b'\n".utf8), isExecutable: true),
        ShippedFile(name: "a b", contents: Array("bytes \u{0}\u{81}\n".utf8), isExecutable: false),
      ]
      let before = counting.count
      let outcomes = try await withThrowingTaskGroup(of: (String, LaunchOutcome).self) { group in
        for id in ids + ["taken", "half", "a7"] {
          group.addTask {
            let command = "echo \(id) \"$NAME\" 'ü\u{81}\\'; ls | wc -l; ./it*"
            return (
              id, try await launcher.launch(spec(id, command, environment: [("NAME", "it's \(id)")]), files: files)
            )
          }
        }
        for id in ["g1", "g2", "g3"] {
          group.addTask { (id, try await launcher.launch(spec(id, "sleep 300", gpus: 1), files: [])) }
        }
        return try await group.reduce(into: [String: [LaunchOutcome]]()) { $0[$1.0, default: []].append($1.1) }
      }
      // Each of the two that stood there costs a command of its own, and so may the first, which waits for nobody.
      #expect(counting.count - before <= 10)
      for id in ids where id != "a7" { #expect(outcomes[id] == [.started], "\(id)") }
      #expect(Set(outcomes["a7"] ?? []) == [.started, .adopted])
      guard case .refused = outcomes["taken"]?.first else {
        Issue.record("another's directory was taken: \(String(describing: outcomes["taken"]))")
        return
      }
      #expect(outcomes["half"] == [.started])
      let gpus = ["g1", "g2", "g3"].compactMap { outcomes[$0]?.first }
      #expect(gpus.count { $0 == .started } == 2)
      #expect(gpus.count { if case .gpuBusy = $0 { true } else { false } } == 1)
      for id in ids + ["half"] {
        let record = try await launcher.end(of: id)
        #expect(record.code == 0, "\(id)")
        #expect(record.environment?["kernel"]?.hasPrefix("Linux ") == true)
        #expect(host.text(id, "stdout.log") == "\(id) it's \(id) ü\u{81}\\\n2\nbytes \u{0}\u{81}\n", "\(id)")
        let stored = try JSONDecoder().decode(AttemptSpec.self, from: Data((host.text(id, "spec.json") ?? "").utf8))
        #expect(stored.id == id)
        #expect(!FileManager.default.fileExists(atPath: host.workdir + "/attempts/\(id)/.reserve"))
      }
      let incoming = try FileManager.default.contentsOfDirectory(atPath: host.workdir + "/incoming")
      #expect(incoming.isEmpty)
    }
  }

  @Test func `a claim from before the host was booted is lost, not launched again`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try host.scratch.write("work dir/attempts/a1/token", "token-1\n")
      try host.scratch.write("work dir/attempts/a1/boot", "an-earlier-one\n")
      let outcome = try await launcher.launch(spec("a1", "true"), files: [])
      #expect(outcome == .adopted)
      let state = try await launcher.status(of: "a1")
      guard case .lost(let why) = state else {
        Issue.record("\(state)")
        return
      }
      #expect(why.contains("rebooted"))
      // What a power cut left of a record is none.
      try host.scratch.write("work dir/attempts/a2/identity", "another-boot 1 1\n")
      try host.scratch.write("work dir/attempts/a2/exit.json", "")
      let torn = try await launcher.status(of: "a2")
      guard case .lost = torn else {
        Issue.record("\(torn)")
        return
      }
    }
  }

  @Test(.enabled(if: geteuid() == 0, "a tmpfs of limited size can be mounted by root only"))
  func `a burst on a full disk starts nothing and leaves nothing`() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in
      let launcher = DetachedLauncher(
        transport: LocalTransport(), workdir: disk + "/w", leaseDir: disk + "/l", name: "gpu-1")
      _ = try await launcher.enrol()
      let big = ShippedFile(name: "big", contents: [UInt8](repeating: 7, count: 300 << 10), isExecutable: false)
      let outcomes = try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
        for number in 0..<8 { group.addTask { try await launcher.launch(spec("a\(number)", "true"), files: [big]) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(outcomes.contains { if case .noSpace = $0 { true } else { false } })
      let states = try await launcher.status(of: (0..<8).map { "a\($0)" })
      #expect(states.values.count { $0 == .absent } == outcomes.count { $0 != .started })
      #expect(outcomes.allSatisfy { if case .noSpace = $0 { true } else { $0 == .started } })
    }
  }
}

/// Counts the commands that pass.
final class CountedTransport: Transport {
  private let base: any Transport
  private let commands = Mutex(0)

  init(_ base: any Transport) { self.base = base }

  var count: Int { commands.withLock { $0 } }

  func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    commands.withLock { $0 += 1 }
    return try await base.run(command, input: input, limit: limit, timeout: timeout)
  }

  func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    commands.withLock { $0 += 1 }
    return try await base.stream(command, input: input, timeout: timeout, onOutput: onOutput)
  }

  func close() async { await base.close() }
}
