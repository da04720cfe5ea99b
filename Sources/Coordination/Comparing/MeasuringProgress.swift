import Synchronization

/// Told how many captures of all pairs are measured, and of how many; from any thread.
public typealias MeasuringProgress = @Sendable (_ done: Int, _ total: Int) -> Void

/// Counts captures as their pairs are done with.
final class MeasuringCounter: Sendable {
  private let done = Mutex(0)
  private let total: Int
  private let progress: MeasuringProgress?

  init(_ pairs: [CaptureMatching.Pair], _ progress: MeasuringProgress?) {
    total = pairs.reduce(0) { $0 + Self.captures($1) }
    self.progress = progress
    progress?(0, total)
  }

  func finished(_ pair: CaptureMatching.Pair) {
    guard let progress else { return }
    // Under the lock, so that no smaller number comes after a larger one.
    done.withLock { done in
      done += Self.captures(pair)
      progress(done, total)
    }
  }

  private static func captures(_ pair: CaptureMatching.Pair) -> Int { pair.reference.count + pair.target.count }
}
