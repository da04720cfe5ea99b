import Foundation
import Glibc
import Synchronization

/// A real sshd on a high port of 127.0.0.1 (or another network's address), with its own host key, client key, known hosts and home directory.
///
/// `SetEnv HOME` keeps the login files of whoever runs the tests out of it; put a `.bashrc` into `home` at will.
public final class LoopbackSSHD: Sendable {
  /// The alias in `configurationFile`.
  public let alias: String
  public let port: Int
  /// The remote HOME.
  public let home: String
  /// For `ssh -F` and `SSHTransport`.
  public let configurationFile: String
  public let knownHostsFile: String
  private let folder: String
  private let network: Network
  private let pid = Mutex<Int32?>(nil)

  /// Where the server stands.
  public struct Network: Sendable {
    public var address: String
    /// What the server is started by: `ip netns exec NAME`; empty: started as it is.
    public var command: [String]

    public init(address: String, command: [String]) {
      self.address = address
      self.command = command
    }

    public static let loopback = Network(address: "127.0.0.1", command: [])
  }

  /// Starts a server inside a scratch directory.
  /// - Parameters:
  ///   - alias: Names the host in the client's configuration, and the folder.
  ///   - serverOptions: More lines for `sshd_config`; `%FOLDER%` is the server's folder.
  ///   - clientOptions: More lines for the host's section of the client's configuration.
  ///   - network: Where it listens.
  public init(
    in scratch: Scratch, alias: String = "loop", serverOptions: [String] = [], clientOptions: [String] = [],
    network: Network = .loopback
  ) async throws {
    self.alias = alias
    self.network = network
    folder = try scratch.directory("sshd-\(alias)")
    home = try scratch.directory("sshd-\(alias)/home")
    knownHostsFile = folder + "/known_hosts"
    configurationFile = folder + "/ssh_config"
    for key in ["host_key", "client_key", "stranger_key"] {
      try await runTool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", "\(folder)/\(key)"])
    }
    port = try freePort()
    let files = FileManager.default
    try files.copyItem(atPath: folder + "/client_key.pub", toPath: folder + "/authorized_keys")
    try writeKnownHosts(key: "host_key")
    let server =
      [
        "ListenAddress \(network.address)", "Port \(port)", "HostKey \(folder)/host_key", "PidFile \(folder)/sshd.pid",
        "AuthorizedKeysFile \(folder)/authorized_keys", "UsePAM no", "StrictModes no", "PermitRootLogin yes",
        "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PrintMotd no", "SetEnv HOME=\(home)",
        "LogLevel VERBOSE",
      ] + serverOptions.map { $0.replacingOccurrences(of: "%FOLDER%", with: folder) }
    try scratch.write("sshd-\(alias)/sshd_config", server.joined(separator: "\n") + "\n")
    let client =
      [
        "Host \(alias)", "HostName \(network.address)", "Port \(port)", "User \(NSUserName())",
        "IdentityFile \(folder)/client_key", "IdentitiesOnly yes", "UserKnownHostsFile \(knownHostsFile)",
        "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "ConnectTimeout 10",
      ] + clientOptions.map { $0.replacingOccurrences(of: "%FOLDER%", with: folder) }
    try scratch.write("sshd-\(alias)/ssh_config", client.joined(separator: "\n  ") + "\n")
    try await start()
  }

  deinit { stop() }

  /// Starts a server, hands it over, stops it.
  public static func with<Value>(
    in scratch: Scratch, alias: String = "loop", serverOptions: [String] = [], clientOptions: [String] = [],
    _ body: (LoopbackSSHD) async throws -> Value
  ) async throws -> Value {
    let server = try await LoopbackSSHD(
      in: scratch, alias: alias, serverOptions: serverOptions, clientOptions: clientOptions)
    defer { server.stop() }
    return try await body(server)
  }

  /// Starts the server again after `stop`.
  public func start() async throws {
    // Root's sshd insists on its privilege separation directory.
    if geteuid() == 0 {
      try? FileManager.default.createDirectory(atPath: "/run/sshd", withIntermediateDirectories: true)
    }
    // It detaches itself and writes its process id.
    try? FileManager.default.removeItem(atPath: path("sshd.pid"))
    let words = network.command + [try sshdPath(), "-f", path("sshd_config"), "-E", path("log")]
    try await runTool(words[0], Array(words.dropFirst()))
    for _ in 0..<400 {
      if let pid = writtenPid(), canConnect(network.address, port: port) {
        self.pid.withLock { $0 = pid }
        return
      }
      try await Task.sleep(for: .milliseconds(25))
    }
    let log = (try? String(contentsOfFile: folder + "/log", encoding: .utf8)) ?? ""
    throw ToolFailure(description: "sshd did not come up on port \(port): \(log)")
  }

  /// Ends the server, its connections and what runs in them.
  public func stop() {
    let pid = self.pid.withLock { pid in
      defer { pid = nil }
      return pid
    }
    guard let pid else { return }
    let descendants = descendants(of: pid)
    kill(pid, SIGKILL)
    for entry in descendants { kill(entry.pid, SIGKILL) }
  }

  /// Cuts every connection as a crash would; new ones are taken.
  public func cutConnections() {
    guard let pid = pid.withLock({ $0 }) else { return }
    for entry in descendants(of: pid) where entry.name == "sshd" { kill(entry.pid, SIGKILL) }
  }

  /// Has every connection hang, or go on: what was sent stays on its way.
  public func holdConnections(_ hold: Bool) {
    guard let pid = pid.withLock({ $0 }) else { return }
    for entry in descendants(of: pid) where entry.name == "sshd" { kill(entry.pid, hold ? SIGSTOP : SIGCONT) }
  }

  private func writtenPid() -> Int32? {
    (try? String(contentsOfFile: path("sshd.pid"), encoding: .utf8)).flatMap {
      Int32($0.trimmingCharacters(in: .whitespacesAndNewlines))
    }
  }

  /// Writes the known hosts anew: with the server's own key, with another one, or with none (nil).
  public func writeKnownHosts(key: String?) throws {
    var text = ""
    if let key {
      let line = try String(contentsOfFile: "\(folder)/\(key).pub", encoding: .utf8)
      text = "[\(network.address)]:\(port) \(line)"
    }
    try text.write(toFile: knownHostsFile, atomically: true, encoding: .utf8)
  }

  /// SHA-256 fingerprint of the server's key as `ssh-keygen -l` prints it.
  public func fingerprint() async throws -> String {
    let words = try await runTool("ssh-keygen", ["-l", "-f", "\(folder)/host_key.pub"]).output.split(separator: " ")
    return words.count > 1 ? String(words[1]) : ""
  }

  /// Absolute path of a file of the server: `client_key`, `stranger_key`, …
  public func path(_ name: String) -> String { folder + "/" + name }
}

/// Ports that were given to somebody of this process, who may not listen yet.
private let givenPorts = Mutex<Set<Int>>([])

/// A port of 127.0.0.1 that nobody listens on, below those of gangs, of Slurm in tests and of outgoing connections. Nobody
/// else in this process is given it.
public func freePort() throws -> Int {
  for _ in 0..<200 {
    let port = Int.random(in: 10_000..<20_000)
    guard givenPorts.withLock({ $0.insert(port).inserted }) else { continue }
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port: port)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if result == 0 { return port }
  }
  throw ToolFailure(description: "no free port: errno \(errno)")
}

private func canConnect(_ host: String, port: Int) -> Bool {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = loopback(port: port)
  inet_pton(AF_INET, host, &address.sin_addr)
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  } == 0
}

private func loopback(port: Int) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = UInt16(port).bigEndian
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  return address
}

/// sshd must be called by its absolute path.
private func sshdPath() throws -> String {
  for path in ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
  where FileManager.default.isExecutableFile(atPath: path) {
    return path
  }
  throw ToolFailure(description: "sshd is not installed (package openssh-server)")
}

private func descendants(of root: Int32) -> [(pid: Int32, name: String)] {
  var children: [Int32: [(pid: Int32, name: String)]] = [:]
  for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
    guard let pid = Int32(entry), let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")")
    else { continue }
    let fields = stat[stat.index(after: close)...].split(separator: " ")
    guard fields.count > 1, let parent = Int32(fields[1]) else { continue }
    children[parent, default: []].append((pid, String(stat[stat.index(after: open)..<close])))
  }
  var found: [(pid: Int32, name: String)] = []
  var queue = [root]
  while let parent = queue.popLast() {
    for child in children[parent] ?? [] {
      found.append(child)
      queue.append(child.pid)
    }
  }
  return found
}
