import Foundation
import Gathering
import Glibc
import Launching
import Synchronization
import Transports

/// What the scripts `gather`, `overhead` and `fanout` time, over the same code that `rollcall` runs. One JSON line each.
@main
enum Main {
  static let usage = """
    HostBenchmarks gather SSH_CONFIG ALIAS ATTEMPT_DIRECTORY STORE
    HostBenchmarks gather-local ATTEMPT_DIRECTORY STORE
    HostBenchmarks fanout SSH_CONFIG ALIAS…
    HostBenchmarks recover SSH_CONFIG WORKDIR RUNS_PER_HOST ALIAS…
    HostBenchmarks launch SSH_CONFIG ALIAS WORKDIR COUNT AT_ONCE
    HostBenchmarks launch-local WORKDIR COUNT AT_ONCE
    HostBenchmarks execute SSH_CONFIG ALIAS COUNT AT_ONCE
    HostBenchmarks execute-local COUNT AT_ONCE
    HostBenchmarks placement RUNS
    HostBenchmarks state STORE RUNS TOGETHER

    """

  static func main() async throws {
    let words = Array(CommandLine.arguments.dropFirst())
    switch (words.first, words.count) {
    case ("gather", 5):
      try await gather(over: ssh(words), directory: words[3], store: words[4])
    case ("gather-local", 3):
      try await gather(over: LocalTransport(), directory: words[1], store: words[2])
    case ("fanout", 3...): try await fanOut(configuration: words[1], aliases: Array(words[2...]))
    case ("recover", 5...):
      try await recover(
        configuration: words[1], workdir: words[2], perHost: number(words[3]), aliases: Array(words[4...]))
    case ("launch", 6):
      try await launch(over: ssh(words), workdir: words[3], count: number(words[4]), atOnce: number(words[5]))
    case ("launch-local", 4):
      try await launch(over: LocalTransport(), workdir: words[1], count: number(words[2]), atOnce: number(words[3]))
    case ("execute", 5): try await execute(over: ssh(words), count: number(words[3]), atOnce: number(words[4]))
    case ("execute-local", 3):
      try await execute(over: LocalTransport(), count: number(words[1]), atOnce: number(words[2]))
    case ("placement", 2): placement(queued: number(words[1]))
    case ("state", 4): try state(store: words[1], runs: number(words[2]), together: number(words[3]))
    default:
      FileHandle.standardError.write(Data(usage.utf8))
      exit(64)
    }
  }

  private static func ssh(_ words: [String]) -> SSHTransport {
    SSHTransport(alias: words[2], configurationFile: words[1])
  }

  private static func number(_ word: String) -> Int { max(1, Int(word) ?? 1) }

  /// One attempt into a store, as the coordinator gathers it.
  private static func gather(over transport: any Transport, directory: String, store: String) async throws {
    let start = ContinuousClock.now
    let result = try await Gatherer().gather(
      attemptDirectory: directory, transport: transport, store: ArtifactStore(root: store), sweep: "s", run: "r")
    print(
      seconds(
        of: [("gather", ContinuousClock.now - start)],
        counts: [
          ("files", result.manifest.entries.count), ("bytes", result.bytesTransferred),
        ]))
    await transport.close()
  }

  /// Connects to every host and asks it something; then again, on the connections that stand; then many times.
  private static func fanOut(configuration: String, aliases: [String]) async throws {
    let hosts = aliases.map { SSHTransport(alias: $0, configurationFile: configuration) }
    let (cold, coldFailures) = await onAll(hosts)
    var warm: [Duration] = []
    var warmFailures: [String] = []
    for _ in 0..<5 {
      let (time, failures) = await onAll(hosts)
      warm.append(time)
      warmFailures += failures
    }
    warm.sort()
    let times = [
      ("connect", cold), ("warm", warm[2]), ("warm_best", warm[0]), ("cpu", .seconds(processorSeconds())),
    ]
    print(
      seconds(
        of: times,
        counts: [
          ("hosts", hosts.count), ("failures", coldFailures.count + warmFailures.count),
          ("resident_KiB", residentKiB()), ("threads", threads()),
        ]))
    for failure in (coldFailures + warmFailures).prefix(5) { FileHandle.standardError.write(Data("\(failure)\n".utf8)) }
    await withTaskGroup { group in for host in hosts { group.addTask { await host.close() } } }
    if !(coldFailures + warmFailures).isEmpty { exit(1) }
  }

  private static func onAll(_ hosts: [SSHTransport]) async -> (Duration, [String]) {
    let start = ContinuousClock.now
    let failures = await withTaskGroup(of: String?.self) { group in
      for host in hosts {
        group.addTask {
          do {
            let result = try await host.ask("echo here", limit: 1000, timeout: .seconds(120))
            return result.output == Array("here\n".utf8) ? nil : "\(result)"
          } catch { return "\(error)" }
        }
      }
      return await group.reduce(into: [String]()) { all, failure in if let failure { all.append(failure) } }
    }
    return (ContinuousClock.now - start, failures)
  }

  /// Runs on every host, then all connections lost, as when their coordinator is killed: how long until the next one
  /// knows again how each of them stands.
  private static func recover(
    configuration: String, workdir: String, perHost: Int, aliases: [String]
  ) async throws {
    func connect() -> [(transport: SSHTransport, launcher: DetachedLauncher)] {
      aliases.map { alias in
        let transport = SSHTransport(alias: alias, configurationFile: configuration)
        let launcher = DetachedLauncher(
          transport: transport, workdir: "\(workdir)/\(alias)", leaseDir: "\(workdir)/leases", gpus: 0, name: alias)
        return (transport, launcher)
      }
    }
    let attempts = (0..<perHost).map { "a\($0)" }
    // All of them wait for its other end, so that they can be ended without a command each.
    let pipe = "\(workdir)/end"
    try FileManager.default.createDirectory(atPath: workdir, withIntermediateDirectories: true)
    guard mkfifo(pipe, 0o600) == 0 else { throw Problem(text: "\(pipe) cannot be made") }
    func close(_ hosts: [(transport: SSHTransport, launcher: DetachedLauncher)]) async {
      await withTaskGroup { group in for host in hosts { group.addTask { await host.transport.close() } } }
    }
    let former = connect()
    let beginning = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for host in former {
        for attempt in attempts {
          group.addTask {
            let spec = AttemptSpec(
              id: attempt, token: "t", sweep: "s", run: attempt, number: 1, command: ": <'\(pipe)'",
              environment: [], gpuCount: 0, timeout: 2000, stallTimeout: nil)
            let outcome = try await host.launcher.launch(spec, files: [])
            guard outcome == .started else { throw Problem(text: "\(outcome)") }
          }
        }
      }
      try await group.waitForAll()
    }
    let launched = ContinuousClock.now - beginning
    // Their supervisors look every second at first, all on the processors of this one machine.
    try await Task.sleep(for: .seconds(12))
    await close(former)

    let hosts = connect()
    let clock = ContinuousClock()
    let start = clock.now
    let known = try await withThrowingTaskGroup(of: Int.self) { group in
      for host in hosts {
        group.addTask {
          try await host.launcher.status(of: attempts).values.count { if case .running = $0 { true } else { false } }
        }
      }
      return try await group.reduce(0, +)
    }
    let recovered = clock.now - start
    let descriptor = open(pipe, O_WRONLY)
    guard descriptor >= 0 else { throw Problem(text: "\(pipe) has no other end") }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for host in hosts {
        group.addTask {
          while try await host.launcher.status(of: attempts).values.contains(where: {
            if case .running = $0 { true } else { false }
          }) {
            try await Task.sleep(for: .seconds(2))
          }
        }
      }
      try await group.waitForAll()
    }
    Glibc.close(descriptor)
    print(
      seconds(
        of: [("launched", launched), ("recovered", recovered)], counts: [("hosts", hosts.count), ("running", known)]))
    await close(hosts)
  }

  /// No-op attempts: each launched, and seen to its end by polls of all that run.
  private static func launch(over transport: any Transport, workdir: String, count: Int, atOnce: Int) async throws {
    let launcher = DetachedLauncher(
      transport: transport, workdir: workdir, leaseDir: workdir + "/leases", gpus: 0, name: "host")
    _ = try await launcher.enrol()
    let start = ContinuousClock.now
    try await atMost(atOnce, of: count) { index in
      let outcome = try await launcher.launch(
        AttemptSpec(
          id: "a\(index)", token: "t\(index)", sweep: "s", run: "r\(index)", number: 1, command: "true",
          environment: [], gpuCount: 0, timeout: 600, stallTimeout: nil), files: [])
      guard outcome == .started else { throw Problem(text: "attempt \(index): \(outcome)") }
    }
    let launched = ContinuousClock.now - start
    var running = (0..<count).map { "a\($0)" }
    while !running.isEmpty {
      // As often as the coordinator looks.
      try await Task.sleep(for: .milliseconds(100))
      let states = try await launcher.status(of: running)
      running = try running.filter { attempt in
        guard case .exited(let record)? = states[attempt] else { return true }
        guard record.code == 0 else { throw Problem(text: "\(attempt) ended with \(record.code)") }
        return false
      }
    }
    print(seconds(of: [("launch", launched), ("all_ended", ContinuousClock.now - start)], counts: [("runs", count)]))
    await transport.close()
  }

  /// Bare commands: what a launch cannot fall below.
  private static func execute(over transport: any Transport, count: Int, atOnce: Int) async throws {
    _ = try await transport.run("true", input: [], limit: 1000, timeout: .seconds(60))
    let start = ContinuousClock.now
    try await atMost(atOnce, of: count) { _ in
      let result = try await transport.run("true", input: [], limit: 1000, timeout: .seconds(60))
      guard result.status == 0 else { throw Problem(text: "\(result)") }
    }
    print(seconds(of: [("execute", ContinuousClock.now - start)], counts: [("commands", count)]))
    await transport.close()
  }

  private static func atMost(
    _ limit: Int, of count: Int, _ body: @escaping @Sendable (Int) async throws -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<count {
        if index >= limit { try await group.next() }
        group.addTask { try await body(index) }
      }
      try await group.waitForAll()
    }
  }

  private struct Problem: Error, CustomStringConvertible {
    var text: String
    var description: String { text }
  }

  private static func seconds(of times: [(String, Duration)], counts: [(String, Int)]) -> String {
    let pairs =
      times.map { "\"\($0.0)\": \($0.1 / .seconds(1))" } + counts.map { "\"\($0.0)\": \($0.1)" }
    return "{" + pairs.joined(separator: ", ") + "}"
  }

  private static func residentKiB() -> Int { status("VmRSS:") }
  private static func threads() -> Int { status("Threads:") }

  private static func status(_ key: String) -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix(key) } ?? ""
    return line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0
  }
}
