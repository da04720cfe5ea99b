/// What went wrong with the store's database.
public struct LedgerError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable {
    case unusable
    case damaged
    case locked
    case notFound = "not-found"
    case diskFull = "disk-full"
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
