import Comparison

/// How text for a terminal looks. Whether colour is wanted (a terminal, no `NO_COLOR`) is the caller's business.
public struct Style: Sendable, Hashable {
  public var color: Bool
  /// Columns; tables are cut to it, sentences are not.
  public var width: Int

  public init(color: Bool = false, width: Int = 100) {
    self.color = color
    self.width = width
  }

  enum Ink: String {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case yellow = "33"
    case blue = "34"
  }

  func paint(_ text: String, _ ink: Ink?) -> String {
    guard color, let ink, !text.isEmpty else { return text }
    return "\u{1B}[\(ink.rawValue)m\(text)\u{1B}[0m"
  }

  func verdict(_ verdict: Verdict) -> String { paint(verdict.word, Self.ink(verdict)) }

  static func ink(_ verdict: Verdict?) -> Ink? {
    switch verdict {
    case .fail: .red
    case .inconclusive: .yellow
    case .pass: .blue
    case nil: nil
    }
  }
}

/// Text of others (names, log lines) for a terminal: what could move the cursor or reorder letters becomes `\u{FFFD}`.
public enum Plain {
  public static func line(_ text: String) -> String { clean(text, keepsLines: false) }

  public static func block(_ text: String) -> String { clean(text, keepsLines: true) }

  /// Control characters, and those that change the direction of what follows.
  static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFFFE, 0xFFFF: true
    default: false
    }
  }

  private static func clean(_ text: String, keepsLines: Bool) -> String {
    if text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": result.append(keepsLines ? "\n" : " ")
      case "\t": result.append(" ")
      case "\r": continue
      default: result.append(isUnsafe(scalar) ? "\u{FFFD}" : scalar)
      }
    }
    return String(result)
  }
}
