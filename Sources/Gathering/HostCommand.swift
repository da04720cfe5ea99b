import Transports

/// A command for a host whose answer stands between two lines of its own, since login files print noise.
struct HostCommand {
  /// Stands before and after the answer; random, so that noise cannot hold it.
  let marker: [UInt8]
  /// For `/bin/sh -c`.
  let text: String

  /// Exit codes by which our scripts name what is wrong with the host.
  enum Failure: Int {
    case noDirectory = 40
    case noTools = 41
    case dumpsClosed = 42
    case unlistable = 43
  }

  /// - Parameters:
  ///   - preparation: Runs before the first marker, in the directory.
  ///   - script: Runs between the two markers. Where it exits, the second marker is missing.
  ///   - filter: A command that the script's output and the second marker pass through; its status is the result's.
  init(in directory: String, preparing preparation: String = "", script: String, through filter: String? = nil) {
    let token =
      String(UInt64.random(in: .min ... .max), radix: 16) + String(UInt64.random(in: .min ... .max), radix: 16)
    marker = Array("rollcall-\(token)\n".utf8)
    let mark = "printf 'rollcall-%s\\n' \(token)"
    text = """
      LC_ALL=C; export LC_ALL; unset CDPATH
      cd -- \(shellQuote(directory)) || exit 40
      \(preparation)
      \(mark)
      {
      \(script)
      \(mark)
      }\(filter.map { " | " + $0 } ?? "")
      """
  }

  /// The bytes between the markers; nil where one is missing.
  func answer(in output: [UInt8]) -> ArraySlice<UInt8>? {
    guard let start = Self.find(marker, in: output[...]),
      output.count >= start + 2 * marker.count, output.suffix(marker.count).elementsEqual(marker)
    else { return nil }
    return output[(start + marker.count)..<(output.count - marker.count)]
  }

  /// Where the needle starts.
  static func find(_ needle: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
    guard let first = needle.first, bytes.count >= needle.count else { return nil }
    for index in bytes.startIndex...(bytes.endIndex - needle.count)
    where bytes[index] == first && bytes[index..<(index + needle.count)].elementsEqual(needle) {
      return index
    }
    return nil
  }

  /// What a status of ours means, or what the command wrote last.
  static func explain(_ result: CommandResult, directory: String) -> GatheringError {
    let last = lastLine(of: result.errorOutput)
    let message: String
    switch Failure(rawValue: result.status) {
    case .noDirectory: message = "no such directory on the host, or no permission to enter it (\(last))"
    case .noTools:
      message =
        "the host lacks GNU find, xargs or sha256sum with NUL-separated names; "
        + "install findutils and coreutils 8.25 or later there"
    case .dumpsClosed: message = "`dumps` cannot be entered there (\(last))"
    case .unlistable: message = "the host could not list everything under `dumps`: \(last)"
    case nil: message = "the host's answer ended early, status \(result.status): \(last)"
    }
    return GatheringError(code: .listing, path: directory, message: message)
  }

  static func lastLine(of output: [UInt8]) -> String {
    let text = String(decoding: output.suffix(2000), as: UTF8.self)
    let line = text.split(separator: "\n").last.map(String.init) ?? "no message"
    return printable(line)
  }
}
