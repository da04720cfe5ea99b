/// HTML, SVG or XML text in which every interpolated string is escaped.
///
/// Only literals and other `Markup` stand as they are, so a name out of a dump can never become a tag or leave an
/// attribute.
package struct Markup: ExpressibleByStringInterpolation, Sendable {
  package var source: String

  package init() { source = "" }

  package init(stringLiteral value: String) { source = value }

  package init(stringInterpolation: StringInterpolation) { source = stringInterpolation.source }

  package struct StringInterpolation: StringInterpolationProtocol {
    var source = ""

    package init(literalCapacity: Int, interpolationCount: Int) { source.reserveCapacity(literalCapacity * 2) }

    package mutating func appendLiteral(_ literal: String) { source += literal }

    package mutating func appendInterpolation(_ text: String) { source += Markup.escape(text) }

    package mutating func appendInterpolation(_ number: Int) { source += String(number) }

    package mutating func appendInterpolation(_ markup: Markup) { source += markup.source }

    package mutating func appendInterpolation(_ parts: [Markup]) {
      for part in parts { source += part.source }
    }
  }

  package static func += (left: inout Markup, right: Markup) { left.source += right.source }

  package var isEmpty: Bool { source.isEmpty }

  /// Text for content and for quoted attributes. Characters that XML has not, and those that turn the direction of
  /// writing, become U+FFFD.
  package static func escape(_ text: String) -> String {
    if text.utf8.allSatisfy(isPlain) { return text }
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&#34;"
      case "'": result += "&#39;"
      case "\n", "\t": result.unicodeScalars.append(scalar)
      case "\r": continue
      default: result.unicodeScalars.append(Plain.isUnsafe(scalar) ? "\u{FFFD}" : scalar)
      }
    }
    return result
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "&"), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "\""), UInt8(ascii: "'"): false
    default: (0x20..<0x7F).contains(byte)
    }
  }
}
