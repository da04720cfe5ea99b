import HTTPTypes

/// A request as the pages see it: decoded, or refused.
struct Question: Sendable {
  var method: HTTPRequest.Method
  /// Decoded components; no `.`, no `..`, no `/` inside one.
  var path: [String]
  var query: [String: String]
  var headers: HTTPFields
  /// `Host`, as sent.
  var authority: String
  /// Fields of a posted form.
  var form: [String: String] = [:]

  static let longestPath = 2048

  /// nil where the path plays tricks.
  init?(method: HTTPRequest.Method, target: String, authority: String?, headers: HTTPFields) {
    let halves = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = halves.first, first.hasPrefix("/") else { return nil }
    var path: [String] = []
    if first != "/" {
      for piece in first.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
        guard let part = Self.decode(piece, plusIsSpace: false), Self.isComponent(part) else { return nil }
        path.append(part)
      }
    }
    self.method = method
    self.path = path
    self.headers = headers
    self.authority = authority ?? ""
    query = halves.count > 1 ? Self.fields(halves[1]) : [:]
  }

  private static func isComponent(_ text: String) -> Bool {
    !text.isEmpty && text != "." && text != ".."
      && text.unicodeScalars.allSatisfy { $0 != "/" && $0 != "\\" && $0.properties.generalCategory != .control }
  }

  /// `a=1&b=x%20y`; what cannot be decoded is left out.
  static func fields(_ text: Substring) -> [String: String] {
    var fields: [String: String] = [:]
    for pair in text.split(separator: "&").prefix(100) {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = decode(sides[0], plusIsSpace: true),
        let value = decode(sides.count > 1 ? sides[1] : "", plusIsSpace: true)
      else { continue }
      fields[name] = value
    }
    return fields
  }

  private static func decode(_ text: Substring, plusIsSpace: Bool) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
      switch byte {
      case UInt8(ascii: "%"):
        guard let high = rest.next().flatMap(digit), let low = rest.next().flatMap(digit) else { return nil }
        bytes.append(high << 4 | low)
      case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
      default: bytes.append(byte)
      }
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    Character(UnicodeScalar(byte)).hexDigitValue.map(UInt8.init)
  }

  /// The value of a cookie.
  func cookie(_ name: String) -> String? {
    for header in headers[values: .cookie] {
      for pair in header.split(separator: ";") {
        let sides = pair.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
        if sides.count == 2, sides[0] == name { return String(sides[1]) }
      }
    }
    return nil
  }
}

/// A path of this server with each component encoded.
func link(_ parts: String..., query: [String: String] = [:]) -> String {
  var text = parts.map { "/" + encoded($0) }.joined()
  if parts.isEmpty { text = "/" }
  if !query.isEmpty {
    text +=
      "?" + query.sorted { $0.key < $1.key }.map { "\(encoded($0.key))=\(encoded($0.value))" }.joined(separator: "&")
  }
  return text
}

private func encoded(_ text: String) -> String {
  let digits = Array("0123456789ABCDEF")
  var result = ""
  for byte in text.utf8 {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "~"):
      result.unicodeScalars.append(UnicodeScalar(byte))
    default: result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
    }
  }
  return result
}
