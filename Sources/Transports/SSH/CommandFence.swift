/// Tells what a command prints from what login files print before it.
///
/// The host is asked to print a random marker line on both outputs before the command's own first line; everything
/// before the marker is noise.
struct CommandFence: Sendable {
  let marker: String

  init() {
    var generator = SystemRandomNumberGenerator()
    let high = String(generator.next(), radix: 16)
    let low = String(generator.next(), radix: 16)
    marker = "rollcall-\(high)-\(low)"
  }

  /// What is sent to the login shell. The shell, whatever it is, only has to read one quoted word, in which stands
  /// nothing that any shell takes for more than itself: csh ends a quote at a line's end and looks for `!` in it, fish
  /// takes `\\` for one backslash.
  ///
  /// The command stands on lines of its own, so that the marker is out before `sh` reads them.
  func wrapped(_ command: String) -> String {
    let preamble = #"printf '\n%s\n' \#(marker); printf '\n%s\n' \#(marker) >&2"#
    return #"exec /bin/sh -c 'eval "$(printf %b "\#(Self.escaped(preamble + "\n" + command))")"'"#
  }

  /// For `printf %b`, within double quotes that stand in single ones.
  private static func escaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      if (0x20..<0x7F).contains(byte), !"!'\"$`\\".utf8.contains(byte) {
        bytes.append(byte)
      } else {
        bytes +=
          [UInt8(ascii: "\\"), UInt8(ascii: "0")] + [byte >> 6, byte >> 3 & 7, byte & 7].map { $0 + UInt8(ascii: "0") }
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A filter for one of the two outputs.
  func filter() -> Filter { Filter(fence: Array("\n\(marker)\n".utf8)) }

  /// Drops everything up to and with the marker line.
  struct Filter: Sendable {
    private let fence: [UInt8]
    /// Bytes seen before the marker; nil once it was seen.
    private(set) var noise: [UInt8]? = []
    /// More noise than this and the marker will hardly come.
    static let noiseLimit = 1 << 20

    init(fence: [UInt8]) {
      self.fence = fence
    }

    var isOpen: Bool { noise == nil }

    /// Gives what of `piece` stands behind the marker.
    mutating func pass(_ piece: [UInt8]) -> [UInt8] {
      guard var seen = noise else { return piece }
      // The marker may be cut anywhere: look again at the last bytes.
      var start = max(0, seen.count - fence.count)
      seen += piece
      noise = seen
      while let first = seen[start...].firstIndex(of: fence[0]) {
        guard seen.count - first >= fence.count else { return [] }
        if seen[first..<first + fence.count].elementsEqual(fence) {
          noise = nil
          return Array(seen[(first + fence.count)...])
        }
        start = first + 1
      }
      return []
    }
  }
}
