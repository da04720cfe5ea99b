import TestSupport
import Transports

/// The hosts that the suite runs over.
enum HostKind: String, CaseIterable, Sendable {
  case local
  case ssh

  func with(_ body: (Scratch, any Transport) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      switch self {
      case .local:
        let transport = LocalTransport()
        try await body(scratch, transport)
        await transport.close()
      case .ssh:
        try await LoopbackSSHD.with(in: scratch) { server in
          let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
          try await body(scratch, transport)
          await transport.close()
        }
      }
    }
  }
}
