/// Finds the word that a typing error probably stood for.
public enum Spelling {
  /// The candidate with the smallest edit distance to `word`, if it is near enough to be meant.
  public static func nearest(to word: String, in candidates: some Sequence<String>) -> String? {
    let typed = normalised(word)
    guard !typed.isEmpty, typed.count <= 64 else { return nil }
    var best: (word: String, distance: Int)?
    for candidate in candidates where candidate.count <= 64 {
      let distance = distance(typed, normalised(candidate))
      if distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(1, typed.count / 3) else { return nil }
    return best.word
  }

  private static func normalised(_ word: String) -> [Character] {
    Array(word.lowercased().map { $0 == "-" ? "_" : $0 })
  }

  /// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`.
  static func distance(_ a: [Character], _ b: [Character]) -> Int {
    var previous: [Int] = []
    var row = Array(0...b.count)
    for i in a.indices {
      var next = [i + 1]
      for j in b.indices {
        var cost = min(row[j + 1] + 1, next[j] + 1, row[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, previous[j - 1] + 1) }
        next.append(cost)
      }
      previous = row
      row = next
    }
    return row[b.count]
  }
}
