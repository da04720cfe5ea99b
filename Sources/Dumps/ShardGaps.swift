/// Files of a checkpoint that is cut into `NAME-00001-of-00003.safetensors` and no index describes.
enum ShardGaps {
  /// What the names of the files that are there say of those that are not: one entry a checkpoint.
  ///
  /// - Parameter paths: relative; files that an index names are not to be among them.
  static func unreadable(_ paths: [String]) -> [Unreadable] {
    struct Checkpoint: Hashable {
      var stem: String
      var total: String
      var suffix: String
    }
    var present: [Checkpoint: (numbers: Set<Int>, width: Int)] = [:]
    for path in paths where path.contains("-of-") {
      guard let match = path.wholeMatch(of: /(.*)-([0-9]{1,9})-of-([0-9]{1,9})(\.[^\/]+)/), let number = Int(match.2)
      else { continue }
      let checkpoint = Checkpoint(stem: String(match.1), total: String(match.3), suffix: String(match.4))
      present[checkpoint, default: ([], match.2.count)].numbers.insert(number)
    }
    let gaps = present.compactMap { checkpoint, found -> Unreadable? in
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
    return gaps.sorted { $0.file.utf8.lexicographicallyPrecedes($1.file.utf8) }
  }
}
