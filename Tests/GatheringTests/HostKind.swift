import TestSupport
import Transports

/// The hosts that the suite runs over.
enum HostKind: String, CaseIterable, Sendable {
  case local

  func with(_ body: (Scratch, any Transport) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      switch self {
      case .local:
        let transport = LocalTransport()
        try await body(scratch, transport)
        await transport.close()
      }
    }
  }
}
