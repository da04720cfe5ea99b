/// What kept a dump from being read: a stable code, the file, the place in it, and a sentence for the person.
public struct DumpError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// No such file or directory, or the wrong one of the two.
    case notFound = "not-found"
    /// The system refused to open or read it.
    case inaccessible
    /// Fewer bytes than its own directory or header promises.
    case truncated
    /// The bytes contradict themselves or the format.
    case malformed
    /// A checksum that was recorded does not fit the bytes.
    case checksum
    /// A format, or a variant of one, that this version does not read.
    case unsupported
    /// A size, depth or count beyond what a reader will take.
    case limit
    /// A directory without a single dump file of the asked-for layout.
    case noDumps = "no-dumps"
    /// Directories under one root that hold the same captures.
    case severalRuns = "several-runs"
  }

  /// Where in the file.
  public enum Place: Sendable, Hashable {
    /// Offset from the start of the file.
    case byte(Int)
    /// Name of a zip record, or key path of a value.
    case key(String)
  }

  public var code: Code
  public var file: String
  public var place: Place?
  /// What happened and how to mend it.
  public var message: String

  public init(code: Code, file: String, at place: Place? = nil, message: String) {
    self.code = code
    self.file = file
    self.place = place
    self.message = message
  }

  public var description: String { "\(file): \(reason)" }

  /// The description without the file.
  public var reason: String {
    switch place {
    case .byte(let offset): "at byte \(offset): \(message)"
    case .key(let key): "\(key): \(message)"
    case nil: message
    }
  }
}
