/// What kept tensors from being aligned: a stable code, the place, and a sentence for the person.
public struct AlignmentError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// The ranks' shapes or types do not fit together, or not with the other side.
    case shapeMismatch = "shape-mismatch"
    /// Both sides are sharded over other numbers of ranks, and no known layout joins them: neither is known to be wrong.
    case unknownLayout = "unknown-layout"
    /// A shard rule that cannot be applied to these dumps.
    case unsupportedRule = "unsupported-rule"
    /// A dims text that is not in its grammar.
    case malformedDims = "malformed-dims"
    /// A rule that the shapes or the ranks' places contradict.
    case ruleMismatch = "rule-mismatch"
    /// A pattern of names that is not in its grammar, or a rule whose patterns do not fit each other.
    case malformedNames = "malformed-names"
  }

  public var code: Code
  /// Layer, stage and tensor, or the file.
  public var place: String
  /// What is wrong and how to mend it.
  public var message: String

  public init(code: Code, place: String, message: String) {
    self.code = code
    self.place = place
    self.message = message
  }

  public var description: String { "\(place): \(message)" }
}
