import Foundation
import Launching
import TestSupport
import Testing
import Transports

/// The hosts that every launcher test runs on.
enum HostKind: String, CaseIterable, CustomTestStringConvertible {
  /// The machine's own `sh`.
  case local
  /// The same with `sh` being bash.
  case bash
  case ssh
  /// The machine's own processes: a supervisor leads the plain runs.
  case supervised

  /// Where plain runs that are launched together have a crew.
  static let crewed: [HostKind] = [.local, .bash, .ssh]

  var testDescription: String { rawValue }

  /// Makes a host with an empty work directory and hands it over.
  func with(_ body: (TestHost) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      switch self {
      case .local:
        try await TestHost(scratch: scratch, transport: LocalTransport(), server: nil).use(body)
      case .supervised:
        var host = TestHost(scratch: scratch, transport: LocalTransport(), server: nil)
        host.supervisor = try supervisorProgram
        try await host.use(body)
      case .bash:
        let bash = try await runTool("sh", ["-c", "command -v bash"]).output.trimmingCharacters(in: .newlines)
        try FileManager.default.createSymbolicLink(
          atPath: try scratch.directory("bin") + "/sh", withDestinationPath: bash)
        let transport = PrefixedTransport(prefix: "PATH=\(scratch.path("bin")):$PATH; export PATH; ")
        try await TestHost(scratch: scratch, transport: transport, server: nil).use(body)
      case .ssh:
        try await LoopbackSSHD.with(in: scratch) { server in
          let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
          try await TestHost(scratch: scratch, transport: transport, server: server).use(body)
        }
      }
    }
  }
}

/// The built `rollcall`, beside the test bundle in the build folder.
var supervisorProgram: [String] {
  get throws {
    let folder = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
    let path = folder.appendingPathComponent("rollcall").path
    try #require(FileManager.default.isExecutableFile(atPath: path), "no rollcall beside the tests at \(path)")
    return [path, "supervise"]
  }
}

/// One host of a test.
struct TestHost {
  let scratch: Scratch
  let transport: any Transport
  let server: LoopbackSSHD?
  var supervisor: [String]?

  /// Where the work directory is not to be in the scratch.
  var placed: String?
  var workdir: String { placed ?? scratch.path("work dir") }

  func launcher(gpus: Int? = 0, workdir: String? = nil, transport: (any Transport)? = nil) -> DetachedLauncher {
    DetachedLauncher(
      transport: transport ?? self.transport, workdir: workdir ?? self.workdir, leaseDir: scratch.path("leases"),
      gpus: gpus, name: "gpu-1", supervisor: supervisor)
  }

  /// A file of an attempt, nil where there is none.
  func text(_ attempt: String, _ name: String) -> String? { scratch.text("work dir/attempts/\(attempt)/\(name)") }

  /// The process that leads it, when that began, and the session of its command.
  func identity(_ attempt: String) throws -> (pid: Int32, start: String, session: Int32) {
    let words = try #require(text(attempt, "identity")).split(whereSeparator: \.isWhitespace)
    // Only a supervisor of many has its commands in sessions of their own.
    try #require(words.count == 3 || supervisor != nil && words.count == 4)
    return (
      try #require(Int32(words[1])), String(words[2]), try #require(Int32(words.count == 3 ? words[1] : words[3]))
    )
  }

  fileprivate func use(_ body: (TestHost) async throws -> Void) async throws {
    do {
      try await body(self)
    } catch {
      await endAll()
      throw error
    }
    await endAll()
  }

  /// Changes the script that the host has: texts, and what stands in their place.
  func patchScript(_ changes: [(String, String)]) throws {
    let folder = workdir + "/agent"
    let script = folder + "/" + (try #require(try FileManager.default.contentsOfDirectory(atPath: folder).first))
    var text = try String(contentsOfFile: script, encoding: .utf8)
    for (old, new) in changes {
      #expect(text.contains(old))
      text.replace(old, with: new)
    }
    try text.write(toFile: script, atomically: true, encoding: .utf8)
  }

  /// No test leaves a process behind, whatever became of it.
  private func endAll() async {
    let ids = (try? FileManager.default.contentsOfDirectory(atPath: workdir + "/attempts")) ?? []
    for id in ids { try? await launcher(transport: LocalTransport()).stop(id, reason: "cancelled") }
    await transport.close()
  }
}

/// The lock under which one launch or stop at a time decides on this machine.
func launchLock(of workdir: String) async throws -> String {
  let node = try await runTool("sh", ["-c", "uname -n | tr -c 'A-Za-z0-9.\\n-' _"]).output
  return "\(workdir)/.lock.\(node.trimmingCharacters(in: .newlines))"
}

func spec(
  _ id: String, _ command: String, token: String = "token-1", gpus: Int = 0, timeout: Double = 120,
  stall: Double? = nil, environment: [(String, String)] = []
) -> AttemptSpec {
  AttemptSpec(
    id: id, token: token, sweep: "s1", run: "r1", number: 1, command: command,
    environment: environment.map { AttemptSpec.EnvironmentEntry(name: $0.0, value: $0.1) }, gpuCount: gpus,
    timeout: timeout, stallTimeout: stall)
}

extension Launcher {
  func status(of attempt: String) async throws -> AttemptStatus {
    try #require(try await status(of: [attempt])[attempt])
  }

  /// Waits until the attempt has ended.
  func end(of attempt: String) async throws -> ExitRecord {
    while true {
      switch try await status(of: attempt) {
      case .exited(let record): return record
      case .running, .claimed: try await Task.sleep(for: .milliseconds(50))
      case let other: throw ToolFailure(description: "\(attempt) is \(other)")
      }
    }
  }
}

/// Waits until something holds; the suite's time limit ends a vain wait, and this says which it was.
func until(
  sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
  do {
    while try await !condition() { try await Task.sleep(for: .milliseconds(30)) }
  } catch  where Task.isCancelled {
    Issue.record("waited for this in vain", sourceLocation: sourceLocation)
    throw error
  }
}

/// One process, whatever has its number later: numbers come round several times while these tests run.
struct KnownProcess {
  let pid: Int32
  /// Clock ticks since boot.
  let start: String?

  init(_ pid: Int32) {
    self.pid = pid
    start = Self.start(pid)
  }

  /// One that may have ended, as an identity tells it.
  init(_ pid: Int32, start: String) {
    self.pid = pid
    self.start = start
  }

  /// Lives and is no zombie.
  var isRunning: Bool { LaunchingTests.isRunning(pid) && Self.start(pid) == start }

  private static func start(_ pid: Int32) -> String? {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let close = stat.lastIndex(of: ")")
    else { return nil }
    let words = stat[close...].split(separator: " ")
    return words.count > 20 ? String(words[20]) : nil
  }
}

/// True where a process of this number lives and is no zombie.
func isRunning(_ pid: Int32) -> Bool {
  guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
    let close = stat.lastIndex(of: ")")
  else { return false }
  return ![") Z", ") X"].contains { stat[close...].hasPrefix($0) }
}
