/// Why the dashboard cannot start, or what a hook could not do.
public struct DashboardError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable {
    /// Not an address to listen on.
    case address
    /// Open to others and without a token.
    case unguarded
    case token
    /// What was asked for cannot be done now.
    case conflict
  }

  public var code: Code
  /// What happened and how to mend it.
  public var message: String

  public init(code: Code, message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}
