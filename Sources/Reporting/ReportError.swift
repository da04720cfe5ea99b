/// Why a stored report could not be read back: a stable code, the place in the record, and how to mend it.
public struct ReportError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    case notJSON = "not-json"
    case wrongSchema = "wrong-schema"
    case missingKey = "missing-key"
    case wrongType = "wrong-type"
    case wrongValue = "wrong-value"
  }

  public var code: Code
  /// Key path from the top of the document, for instance `cells[3].runs[0].state`; empty for the document itself.
  public var place: String
  /// What is wrong and how to mend it.
  public var message: String

  public init(code: Code, place: String, message: String) {
    self.code = code
    self.place = place
    self.message = message
  }

  public var description: String { place.isEmpty ? message : "\(place): \(message)" }
}
