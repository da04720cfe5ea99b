/// How a stage's ranks are to be joined.
public enum ShardRule: Sendable, Hashable, Codable {
  /// Found from the shapes, and from the data where shapes allow several.
  case auto
  /// Consecutive slices of an axis; a negative axis counts from the last.
  case concat(axis: Int)
  case partial
  case replicated
  /// A rule of the job file that this version cannot apply; the text is the rule as written.
  case unsupported(String)
}
