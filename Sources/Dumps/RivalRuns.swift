/// Two directories that hold the same captures: two runs under one root, which must not be taken for one.
struct RivalRuns: Hashable {
  /// Relative to the root, which is `.` itself.
  var first: String
  var second: String
  /// Directories of which one is there where these are ranks of one run, which count from 0; empty for other names.
  private var zeroth: [String] = []

  /// Nil where the two files stand in one directory, and where the directories count steps of one run, which the layout
  /// does not know.
  ///
  /// - Parameters:
  ///   - owner: path, relative to the root, of the file that was taken first.
  ///   - other: path of the file that holds the same.
  init?(_ owner: String, _ other: String) {
    func folders(_ path: String) -> ArraySlice<Substring> {
      path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
    }
    let (left, right) = (folders(owner), folders(other))
    let common = zip(left, right).prefix { $0 == $1 }.count
    guard left != right else { return nil }
    if left.count > common, right.count > common, let (word, number, name) = Self.count(left[common], right[common]) {
      if Self.counters.contains(word) { return nil }
      if Self.groups.contains(word) {
        zeroth = ["0", String(repeating: "0", count: number.count)].map {
          (left[..<common] + [Substring(name($0))]).joined(separator: "/")
        }
      }
    }
    func path(_ parts: ArraySlice<Substring>) -> String {
      parts.isEmpty ? "." : parts.prefix(common + 1).joined(separator: "/")
    }
    (first, second) = right.isEmpty ? (path(right), path(left)) : (path(left), path(right))
  }

  /// The first of `all` that are two runs; nil where each may be one.
  ///
  /// - Parameter files: paths of all files.
  static func first(of all: Set<RivalRuns>, among files: [String]) -> RivalRuns? {
    all.filter { rivals in
      !rivals.zeroth.contains { zeroth in files.contains { $0.hasPrefix(zeroth + "/") } }
    }.min { ($0.first, $0.second) < ($1.first, $1.second) }
  }

  /// - Parameter root: for the message.
  func error(_ root: String) -> DumpError {
    let (name, mend) =
      first == "."
      ? ("the directory itself", "move \(second) out of it, or name that")
      : (first, "name one of them, and keep each run in a directory of its own")
    return DumpError(
      code: .severalRuns, file: root,
      message: "\(name) and \(second) hold the same captures, as two runs do; \(mend)")
  }

  private static let groups: Set<String> = [
    "", "rank", "tp", "pp", "dp", "ep", "cp", "sp", "gpu", "device", "dev", "cuda", "worker", "process", "proc",
    "shard", "node", "host",
  ]
  private static let counters: Set<String> = [
    "step", "iter", "iteration", "call", "pass", "forward", "batch", "token", "prompt", "seq", "slot", "chunk", "pid",
  ]

  /// For two names that first differ in a number of up to five digits: the word before it in small letters, the number
  /// in the first, and that name with another number. A longer one is a date or a time.
  private static func count(
    _ left: Substring, _ right: Substring
  ) -> (word: String, number: Substring, name: (String) -> String)? {
    let (mine, others) = (runs(left), runs(right))
    guard let place = mine.indices.first(where: { !others.indices.contains($0) || mine[$0] != others[$0] }),
      others.indices.contains(place), [mine[place], others[place]].allSatisfy({ $0.count <= 5 && Int($0) != nil })
    else { return nil }
    let word = mine[..<place].last { $0.allSatisfy(\.isLetter) } ?? ""
    return (word.lowercased(), mine[place], { (mine[..<place] + [Substring($0)] + mine[(place + 1)...]).joined() })
  }

  /// Letters, digits and the rest, each run by itself.
  private static func runs(_ text: Substring) -> [Substring] {
    var result: [Substring] = []
    var rest = text
    while let head = rest.first {
      let run = rest.prefix { $0.isLetter == head.isLetter && $0.isNumber == head.isNumber }
      result.append(run)
      rest = rest.dropFirst(run.count)
    }
    return result
  }
}
