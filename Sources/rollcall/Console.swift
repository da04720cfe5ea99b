import Foundation
import Glibc

/// Standard output for data, standard error for talk.
enum Console {
  static func print(_ text: String) {
    write(text.hasSuffix("\n") ? text : text + "\n")
  }

  static func error(_ text: String) {
    draw(text.hasSuffix("\n") ? text : text + "\n")
  }

  /// To standard output as it is; a reader that went away (`| head`) is no error.
  static func write(_ text: String) { try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8)) }

  static func write(bytes: [UInt8]) { try? FileHandle.standardOutput.write(contentsOf: Data(bytes)) }

  /// To standard error as it is.
  static func draw(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }

  static var isOutputTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Colour on standard output: a terminal, and `NO_COLOR` is not set to anything.
  static var wantsColour: Bool {
    isatty(STDOUT_FILENO) == 1 && (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty
  }

  /// Columns of the terminal; 120 where it is none.
  static var width: Int { width(of: STDOUT_FILENO) }

  /// Of the terminal that standard error is.
  static var errorWidth: Int { width(of: STDERR_FILENO) }

  /// Lines of the terminal that standard error is; 24 where that is not told.
  static var errorHeight: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 4 else { return 24 }
    return Int(size.ws_row)
  }

  private static func width(of descriptor: Int32) -> Int {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else { return 120 }
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
