/// Checkpoints that are cut into `NAME-00001-of-00003.safetensors`: which files lack, and which are too many.
enum ShardGaps {
  /// What a shard's name says.
  private struct Name {
    struct Checkpoint: Hashable {
      var stem: String
      var total: String
      var suffix: String
    }
    var checkpoint: Checkpoint
    var number: Int
    /// Digits of the number.
    var width: Int

    init?(_ path: String) {
      guard path.contains("-of-"),
        let match = path.wholeMatch(of: /(.*)-([0-9]{1,9})-of-([0-9]{1,9})(\.[^\/]+)/), let number = Int(match.2)
      else { return nil }
      checkpoint = Checkpoint(stem: String(match.1), total: String(match.3), suffix: String(match.4))
      (self.number, width) = (number, match.2.count)
    }
  }

  /// What the names of the files that are there say of those that are not, one entry a checkpoint; of a checkpoint that
  /// an index describes, which files it does not name.
  ///
  /// - Parameters:
  ///   - paths: relative, of all files that are there.
  ///   - indexed: those that an index names, there or not.
  static func unreadable(_ paths: [String], indexed: Set<String> = []) -> [Unreadable] {
    let described = Set(indexed.compactMap { Name($0)?.checkpoint })
    var present: [Name.Checkpoint: (numbers: Set<Int>, width: Int)] = [:]
    var result: [Unreadable] = []
    for path in paths where !indexed.contains(path) {
      guard let name = Name(path) else { continue }
      if described.contains(name.checkpoint) {
        result.append(
          Unreadable(
            file: path,
            why: "the shard is not in the index that names the others: it may be of another checkpoint, or the index "
              + "is cut short"))
      } else {
        present[name.checkpoint, default: ([], name.width)].numbers.insert(name.number)
      }
    }
    result += present.compactMap { checkpoint, found -> Unreadable? in
      guard let total = Int(checkpoint.total) else { return nil }
      // Hugging Face counts from 1, others from 0.
      let first = found.numbers.contains(0) ? 0 : 1
      let range = first..<(first + total)
      let count = total - found.numbers.count(where: range.contains)
      guard let number = range.lazy.filter({ !found.numbers.contains($0) }).first else { return nil }
      let digits = String(number)
      let padding = String(repeating: "0", count: max(0, found.width - digits.count))
      return Unreadable(
        file: "\(checkpoint.stem)-\(padding)\(digits)-of-\(checkpoint.total)\(checkpoint.suffix)",
        why: "the shard is missing: by their names there are \(total), of which \(count) "
          + "\(count == 1 ? "is" : "are") not there, and no index says what they hold")
    }
    return result.sorted { $0.file.utf8.lexicographicallyPrecedes($1.file.utf8) }
  }
}
