/// What kept a launcher from its work on a host: a stable code, the host, and a sentence for the person.
///
/// What kept the host from being reached is a `TransportError`.
public struct LaunchError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// The host answered something that is not the launcher's protocol.
    case noReply = "no-reply"
    /// A name that could leave the work directory or confuse a shell.
    case badName = "bad-name"
    case missingTool = "missing-tool"
    /// The work directory cannot be made, written or locked.
    case workdir
    case noSpace = "no-space"
    case absent
    /// Processes of an attempt outlive KILL, or cannot be told from a launch in progress.
    case alive
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

  public var description: String { "\(host): \(message)" }
}
