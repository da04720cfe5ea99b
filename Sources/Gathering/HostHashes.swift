/// SHA-256 of a host's files by path, as the host tells them one after the other.
actor HostHashes {
  private(set) var known: [String: String] = [:]
  /// No more will come.
  private(set) var isOver = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  func add(_ hashes: [String: String]) {
    known.merge(hashes) { first, _ in first }
    wake()
  }

  func end() {
    isOver = true
    wake()
  }

  /// Waits for one file's; nil where the host did not tell it.
  func hash(of path: String) async -> String? {
    while known[path] == nil, !isOver { await change() }
    return known[path]
  }

  /// Waits until more than so many are known, or all that will be.
  func wait(beyond count: Int) async {
    while known.count <= count, !isOver { await change() }
  }

  private func change() async {
    await withCheckedContinuation { waiting.append($0) }
  }

  private func wake() {
    for continuation in waiting { continuation.resume() }
    waiting = []
  }
}
