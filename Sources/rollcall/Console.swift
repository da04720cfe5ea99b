import Foundation
import Glibc

/// Standard output for data, standard error for talk.
enum Console {
  static func print(_ text: String) {
    fputs(text.hasSuffix("\n") ? text : text + "\n", Glibc.stdout)
    fflush(Glibc.stdout)
  }

  static func error(_ text: String) {
    fputs(text.hasSuffix("\n") ? text : text + "\n", Glibc.stderr)
  }

  static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Colour on standard output: a terminal, and `NO_COLOR` is not set to anything.
  static var wantsColour: Bool {
    isatty(STDOUT_FILENO) == 1 && (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty
  }

  /// Columns of the terminal; 120 where it is none.
  static var width: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else { return 120 }
    return Int(size.ws_col)
  }

  /// Writes a file whole or not at all.
  static func write(_ text: String, to path: String) throws {
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
      throw OutputError(message: "Cannot write \(path): \(error.localizedDescription)")
    }
  }
}
