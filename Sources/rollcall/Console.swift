import Foundation
import Glibc
import Synchronization

/// Standard output for data, standard error for talk.
enum Console {
  static func print(_ text: String) {
    write(text.hasSuffix("\n") ? text : text + "\n")
  }

  static func error(_ text: String) {
    draw(text.hasSuffix("\n") ? text : text + "\n")
  }

  /// To standard output as it is. What it does not take is told once the command has done the rest of its work.
  static func write(_ text: String) { write(bytes: Array(text.utf8)) }

  static func write(bytes: [UInt8]) {
    guard outputError.load(ordering: .relaxed) == 0 else { return }
    outputError.store(write(bytes, into: STDOUT_FILENO), ordering: .relaxed)
  }

  /// - Returns: 0, or the error that kept the rest of it from being written.
  private static func write(_ bytes: [UInt8], into descriptor: Int32) -> Int32 {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      let code = errno
      if count >= 0 {
        rest = rest.dropFirst(count)
      } else if code == EAGAIN {
        var full = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&full, 1, -1)
      } else if code != EINTR {
        return code
      }
    }
    return 0
  }

  /// The first error of standard output, after which nothing more is written to it; 0: none.
  private static let outputError = Atomic<Int32>(0)

  /// Why standard output does not hold all that was written to it; nil: it does, or its reader went away (`| head`).
  static var outputFailure: OutputError? {
    let code = outputError.load(ordering: .relaxed)
    guard code != 0, code != EPIPE else { return nil }
    return OutputError(message: "Cannot write standard output: \(String(cString: strerror(code)))")
  }

  /// - Throws: `OutputError`.
  static func checkOutput() throws {
    if let failure = outputFailure { throw failure }
  }

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
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 120 }
    return Int(size.ws_col)
  }

  /// Writes a file whole or not at all. What is no file (a device, a pipe) is written to as it stands, and what a link
  /// leads to takes the place of the link.
  static func write(_ text: String, to path: String) throws {
    guard let file = file(at: path) else {
      let code = write(Array(text.utf8), intoOpened: path)
      guard code != 0 else { return }
      throw OutputError(message: "Cannot write \(path): \(String(cString: strerror(code)))")
    }
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: file), options: .atomic)
    } catch {
      throw OutputError(message: "Cannot write \(path): \(error.localizedDescription)")
    }
  }

  /// The file to write where a command is asked to write `path` and needs a file: it can be written whole or not at all.
  ///
  /// - Throws: `UsageError` for what is there and is no file (a device, a pipe), before work is done in vain.
  static func replaceable(_ path: String, _ option: String) throws -> String {
    var facts = stat()
    // A directory is in the way whatever is done.
    if stat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR { return path }
    guard let file = file(at: path) else {
      throw UsageError(message: "\(option) \(path) is no regular file, which it would be replaced by; name a file")
    }
    return file
  }

  /// The file that a path leads to, whether or not it is there, and which may be replaced; nil: it leads to something
  /// else, or, through a link of `/proc`, to a file that somebody holds open.
  private static func file(at path: String) -> String? {
    var facts = stat()
    if stat(path, &facts) == 0, facts.st_mode & S_IFMT != S_IFREG { return nil }
    var file = path
    // As many as Linux follows.
    for _ in 0..<40 {
      guard lstat(file, &facts) == 0, facts.st_mode & S_IFMT == S_IFLNK else { return file }
      let directory = URL(fileURLWithPath: file).deletingLastPathComponent()
      guard !directory.resolvingSymlinksInPath().path.hasPrefix("/proc/"),
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: file)
      else { return nil }
      file = target.hasPrefix("/") ? target : directory.appendingPathComponent(target).path
    }
    return nil
  }

  /// - Returns: 0, or the error.
  private static func write(_ bytes: [UInt8], intoOpened path: String) -> Int32 {
    let descriptor = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    return write(bytes, into: descriptor)
  }
}
