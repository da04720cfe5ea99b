/// What kept a host from being used: a stable code, the host, and a sentence for the person.
public struct TransportError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    case unreachable
    case hostKeyUnknown = "host-key-unknown"
    case hostKeyChanged = "host-key-changed"
    case authenticationFailed = "authentication-failed"
    case configuration
    case timedOut = "timed-out"
    case connectionLost = "connection-lost"
    case outputTooLarge = "output-too-large"
    case closed
    /// The host answered, but not with what the command was to print.
    case noReply = "no-reply"
  }

  public var code: Code
  public var host: String
  /// What happened and how to mend it.
  public var message: String

  public init(code: Code, host: String, message: String) {
    self.code = code
    self.host = host
    self.message = message
  }

  /// True where trying again cannot help before a person acts (host keys, authentication, configuration).
  public var isPermanent: Bool {
    switch code {
    case .hostKeyUnknown, .hostKeyChanged, .authenticationFailed, .configuration, .outputTooLarge, .closed: true
    case .unreachable, .timedOut, .connectionLost, .noReply: false
    }
  }

  public var description: String { "\(host): \(message)" }

  static func outputTooLarge(host: String, limit: Int) -> TransportError {
    TransportError(
      code: .outputTooLarge, host: host, message: "the command printed more than the \(limit) bytes it is allowed")
  }

  static func closed(host: String) -> TransportError {
    TransportError(code: .closed, host: host, message: "the connection was closed on our side; nothing was run")
  }
}
