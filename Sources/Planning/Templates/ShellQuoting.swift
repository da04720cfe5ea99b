/// Quoting for the POSIX shell.
public enum ShellQuoting {
  /// Bare where every shell reads it as one plain word, else in single quotes.
  public static func word(_ text: String) -> String { isPlain(text) ? text : quoted(text) }

  /// In single quotes.
  public static func quoted(_ text: String) -> String { "'" + inSingleQuotes(text) + "'" }

  /// For a place between single quotes: leaves them for each quote of the text.
  static func inSingleQuotes(_ text: String) -> String {
    text.unicodeScalars.reduce(into: "") {
      // By scalar: a quote with a combining mark after it is one Character, and still a quote to the shell.
      if $1 == "'" { $0 += "'\\'" }
      $0.unicodeScalars.append($1)
    }
  }

  /// For a place between double quotes.
  static func inDoubleQuotes(_ text: String) -> String {
    text.unicodeScalars.reduce(into: "") {
      if $1 == "\\" || $1 == "\"" || $1 == "$" || $1 == "`" { $0 += "\\" }
      $0.unicodeScalars.append($1)
    }
  }

  /// Nothing that any shell reads as more than itself: no `=` (an assignment), no `~`, no reserved word.
  static func isPlain(_ text: String) -> Bool {
    !text.isEmpty && !reserved.contains(text)
      && text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || "_@%+:,./-".utf8.contains(byte)
      }
  }

  private static let reserved: Set<String> = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function",
    "select", "time", "coproc",
  ]
}
