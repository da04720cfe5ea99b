public import Transports

/// What kept files from being gathered or kept: a stable code, where, and a sentence for the person.
public struct GatheringError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// A sweep, run or attempt name that cannot be a directory's name.
    case badName = "bad-name"
    /// The host could not be used; `transport` says why.
    case host
    /// The host answered, but not as agreed: directory gone, GNU coreutils or findutils missing, answer cut short.
    case listing
    /// A file changed on the host between the manifest and the transfer, twice.
    case fileChanged = "file-changed"
    /// Too little room in the store.
    case noSpace = "no-space"
    /// The store's file system refused something.
    case store
    /// The store's file system takes no file of such a name: too long, or with characters that it does not have.
    case storedName = "stored-name"
    /// The store does not hold any more what a manifest was to name.
    case objectGone = "object-gone"
    /// The run has no manifest in the store: never gathered, or its gather did not end.
    case notGathered = "not-gathered"
    /// A manifest in the store that is not what Rollcall wrote.
    case damagedManifest = "damaged-manifest"
    case cancelled
  }

  public var code: Code
  /// File or directory, on the host or in the store; nil where none is concerned.
  public var path: String?
  /// What happened and how to mend it.
  public var message: String
  /// The cause, for the code `host`.
  public var transport: TransportError?

  public init(code: Code, path: String? = nil, message: String, transport: TransportError? = nil) {
    self.code = code
    self.path = path
    self.message = message
    self.transport = transport
  }

  public var description: String {
    guard let path else { return message }
    return "\(printable(path)): \(message)"
  }

  /// Takes any error of a transport call as one of ours.
  init(_ error: any Error) {
    switch error {
    case let error as GatheringError: self = error
    case let error as TransportError:
      self.init(code: .host, message: error.description, transport: error)
    case is CancellationError: self.init(code: .cancelled, message: "The gather was cancelled; run it again to go on.")
    default: self.init(code: .host, message: "The host could not be used: \(error)")
    }
  }
}

/// The text with control characters, line separators and backslashes escaped, so that a file's name cannot write to a
/// terminal.
func printable(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\n": result += "\\n"
    case "\t": result += "\\t"
    case "\r": result += "\\r"
    case "\\": result += "\\\\"
    default:
      if isControl(scalar) {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
  }
  return result
}

/// C0 and C1 controls, DEL, line and paragraph separators, and the marks that turn the direction of text.
func isControl(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.value {
  case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029, 0x202A...0x202E, 0x2066...0x2069: true
  default: false
  }
}
