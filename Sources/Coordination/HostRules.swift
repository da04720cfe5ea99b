public import Launching
public import Ledger
public import Planning

/// Keeps what the fleet file and the person say of a host, right before anything is started there: a drained host
/// starts nothing, and an exclusive one gives itself to one run at a time.
///
/// Placement knows both and rarely comes here in vain; between its decision and the launch, a person may have spoken.
public struct RuledLauncher: Launcher {
  private let base: any Launcher
  private let host: Fleet.Host
  private let drains: DrainList

  public init(_ base: any Launcher, host: Fleet.Host, drains: DrainList) {
    self.base = base
    self.host = host
    self.drains = drains
  }

  public func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome {
    // What was launched before the host was drained goes on: the same launch again must find it.
    if let entry = try drains.hosts()[host.name], try await base.status(of: [spec.id])[spec.id] == .absent {
      return .gpuBusy("the host is drained\(entry.why.map { ": " + $0 } ?? "")")
    }
    var spec = spec
    spec.isExclusive = spec.isExclusive || host.isExclusive
    return try await base.launch(spec, files: files)
  }

  public func enrol() async throws -> HostFacts { try await base.enrol() }
  public func release(_ attempt: String) async throws { try await base.release(attempt) }
  public func stop(_ attempt: String, reason: String) async throws { try await base.stop(attempt, reason: reason) }
  public func directory(of attempt: String) async throws -> String { try await base.directory(of: attempt) }
  public func status(of attempts: [String]) async throws -> [String: AttemptStatus] {
    try await base.status(of: attempts)
  }
  public func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] {
    try await base.log(of: attempt, name: name, offset: offset, limit: limit)
  }
}

extension HostConnection {
  /// The connections of a coordinator: with the rules of the fleet and of the store.
  public static func ruled(for fleet: Fleet, store: String, supervisor: [String]? = nil) -> [HostConnection] {
    connections(for: fleet, supervisor: supervisor).map { connection in
      var connection = connection
      connection.launcher = RuledLauncher(
        connection.launcher, host: connection.host, drains: DrainList(store: store))
      return connection
    }
  }
}
