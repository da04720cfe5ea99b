import Foundation

extension LoopbackSSHD {
  /// Servers of these names, and `fleet.yaml`, which has them as hosts with directories of their own.
  ///
  /// - Parameter keys: What else the file says of each host: `gpus: 1`.
  public static func withFleet(
    _ names: [String], in scratch: Scratch, keys: String, _ body: ([LoopbackSSHD]) async throws -> Void
  ) async throws {
    var servers: [LoopbackSSHD] = []
    defer { for server in servers { server.stop() } }
    for name in names { servers.append(try await LoopbackSSHD(in: scratch, alias: name)) }
    let configurations = try servers.map { try String(contentsOfFile: $0.configurationFile, encoding: .utf8) }
    try scratch.write("ssh_config", configurations.joined(separator: "\n"), permissions: 0o600)
    let hosts = names.map { name in
      "  - {name: \(name), ssh: \(name), workdir: \(scratch.path("work-" + name)), "
        + "lease_dir: \(scratch.path("leases-" + name)), \(keys)}\n"
    }
    try scratch.write("fleet.yaml", "ssh_config: \(scratch.path("ssh_config"))\nhosts:\n" + hosts.joined())
    try await body(servers)
  }
}
